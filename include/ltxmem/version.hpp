// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

/// Version of the library. CMake reads these three lines, so they are the only place that states it.
#define LTXMEM_VERSION_MAJOR 0
#define LTXMEM_VERSION_MINOR 1
#define LTXMEM_VERSION_PATCH 0

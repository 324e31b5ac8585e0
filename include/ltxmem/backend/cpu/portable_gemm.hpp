// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

namespace ltxmem {

struct PortableGemm {};

}  // namespace ltxmem

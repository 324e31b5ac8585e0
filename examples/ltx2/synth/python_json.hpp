// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "config/json_fields.hpp"

namespace ltx2 {

/// Writes JSON the way Python's json.dumps does with default settings: ", " and ": ", ASCII only, numbers by repr().
/// Checkpoints written by Python tools carry their configuration in this form.
std::string python_json(const Json& value);

/// The shortest text that gives the number back, with Python's choice between fixed and exponent form.
std::string python_number(double number);

}  // namespace ltx2

// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#include "synth/python_json.hpp"

#include <charconv>
#include <cstddef>

#include "ltxmem/io/json.hpp"

namespace ltx2 {

namespace {

void append(std::string& out, const Json& value) {
  if (value.is_object()) {
    out += '{';
    for (auto item = value.begin(); item != value.end(); ++item) {
      if (item != value.begin()) out += ", ";
      ltxmem::append_json_string(out, item.key());
      out += ": ";
      append(out, item.value());
    }
    out += '}';
  } else if (value.is_array()) {
    out += '[';
    for (std::size_t i = 0; i < value.size(); ++i) {
      if (i > 0) out += ", ";
      append(out, value[i]);
    }
    out += ']';
  } else if (value.is_string()) {
    ltxmem::append_json_string(out, value.get_ref<const std::string&>());
  } else if (value.is_number_float()) {
    out += python_number(value.get<double>());
  } else {
    out += value.dump();  // integers, true, false, null are spelt alike
  }
}

}  // namespace

std::string python_json(const Json& value) {
  std::string out;
  append(out, value);
  return out;
}

std::string python_number(double number) {
  char buffer[64];
  const char* end = std::to_chars(buffer, buffer + sizeof buffer, number, std::chars_format::scientific).ptr;
  const std::string text(buffer, static_cast<std::size_t>(end - buffer));  // [-]d[.ddd]e[+-]dd
  const std::size_t e = text.find('e');
  int exponent = 0;
  const std::size_t digits_of_exponent = e + (text[e + 1] == '+' ? 2 : 1);
  std::from_chars(text.data() + digits_of_exponent, text.data() + text.size(), exponent);
  if (exponent < -4 || exponent >= 16) return text;
  end = std::to_chars(buffer, buffer + sizeof buffer, number, std::chars_format::fixed).ptr;
  std::string fixed(buffer, static_cast<std::size_t>(end - buffer));
  return fixed.find('.') == std::string::npos ? fixed + ".0" : fixed;
}

}  // namespace ltx2

// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cctype>
#include <map>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

/// Enough of an XML reader to say whether a document is well formed, and to look into it.

namespace ltx2::test {

struct XmlElement {
  std::string name;
  std::map<std::string, std::string> attributes;  ///< entities resolved
  std::string text;                               ///< directly inside, entities resolved
  std::size_t parent = 0;                         ///< index; the root is its own
};

/// The elements of a document in the order of their start tags. runtime_error where it is not well formed.
class XmlReader {
 public:
  static std::vector<XmlElement> read(std::string_view text) {
    XmlReader reader(text);
    reader.document();
    return std::move(reader.elements_);
  }

 private:
  explicit XmlReader(std::string_view text) : text_(text) {}

  [[noreturn]] void fail(const std::string& what) const {
    throw std::runtime_error("XML, byte " + std::to_string(at_) + ": " + what);
  }
  bool starts(std::string_view prefix) const { return text_.substr(at_).starts_with(prefix); }
  bool take(std::string_view prefix) {
    if (!starts(prefix)) return false;
    at_ += prefix.size();
    return true;
  }
  char next() {
    if (at_ >= text_.size()) fail("ends too early");
    const char c = text_[at_++];
    if (static_cast<unsigned char>(c) < 0x20 && c != '\n' && c != '\t' && c != '\r') fail("control character");
    return c;
  }
  void space() {
    while (at_ < text_.size() && std::isspace(static_cast<unsigned char>(text_[at_])) != 0) ++at_;
  }
  std::string name() {
    std::string out;
    while (at_ < text_.size() && (std::isalnum(static_cast<unsigned char>(text_[at_])) != 0 || text_[at_] == '-' ||
                                  text_[at_] == '_' || text_[at_] == ':')) {
      out += text_[at_++];
    }
    if (out.empty() || std::isalpha(static_cast<unsigned char>(out[0])) == 0) fail("a name is missing");
    return out;
  }
  char entity() {  // after '&'
    for (const auto& [code, c] :
         {std::pair{"lt;", '<'}, {"gt;", '>'}, {"amp;", '&'}, {"quot;", '"'}, {"apos;", '\''}}) {
      if (take(code)) return c;
    }
    fail("unknown entity");
  }
  std::map<std::string, std::string> attributes() {
    std::map<std::string, std::string> out;
    for (space(); !starts(">") && !starts("/>") && !starts("?>"); space()) {
      const std::string key = name();
      if (!take("=\"")) fail("attribute " + key + " without a quoted value");
      std::string value;
      for (char c = next(); c != '"'; c = next()) {
        if (c == '<') fail("'<' in an attribute");
        value += c == '&' ? entity() : c;
      }
      if (!out.emplace(key, value).second) fail("attribute " + key + " twice");
    }
    return out;
  }
  void document() {
    if (take("<?xml")) {
      attributes();
      if (!take("?>")) fail("the declaration does not end");
    }
    space();
    std::vector<std::size_t> open;
    do {
      if (take("</")) {
        if (open.empty() || elements_[open.back()].name != name() || !take(">")) fail("an end tag that ends nothing");
        open.pop_back();
      } else if (take("<")) {
        XmlElement element{name(), attributes(), "", open.empty() ? 0 : open.back()};
        elements_.push_back(std::move(element));
        if (!take("/>")) {
          if (!take(">")) fail("a start tag that does not end");
          open.push_back(elements_.size() - 1);
        }
      } else {
        if (open.empty()) fail("text outside of the root");
        const char c = next();
        elements_[open.back()].text += c == '&' ? entity() : c;
      }
    } while (!open.empty());
    space();
    if (at_ != text_.size()) fail("something after the root");
  }

  std::string_view text_;
  std::size_t at_ = 0;
  std::vector<XmlElement> elements_;
};

}  // namespace ltx2::test

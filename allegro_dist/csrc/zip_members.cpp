#include "zip_members.hpp"

#include <array>
#include <cstdint>
#include <stdexcept>

namespace allegro_dist {
namespace {

constexpr std::size_t end_size = 22, entry_size = 46, local_size = 30;
constexpr std::string_view end_mark = "PK\5\6", entry_mark = "PK\1\2", local_mark = "PK\3\4";

// Little-endian fields of a part of the file, each access checked.
class Fields {
 public:
  Fields(std::string_view content, std::size_t offset, std::size_t size, std::string_view mark) {
    if (offset > content.size() || size > content.size() - offset) throw std::runtime_error("it is truncated");
    bytes_ = content.substr(offset, size);
    if (bytes_.substr(0, mark.size()) != mark)
      throw std::runtime_error("it is no zip file, or its directory is damaged");
  }
  std::size_t number(std::size_t offset, std::size_t size) const {
    std::size_t value = 0;
    for (std::size_t k = size; k-- > 0;) value = value << 8 | static_cast<unsigned char>(bytes_[offset + k]);
    return value;
  }

 private:
  std::string_view bytes_;
};

std::string_view part(std::string_view content, std::size_t offset, std::size_t size) {
  if (offset > content.size() || size > content.size() - offset) throw std::runtime_error("it is truncated");
  return content.substr(offset, size);
}

std::uint32_t crc32(std::string_view data) {
  static const auto table = [] {
    std::array<std::uint32_t, 256> t{};
    for (std::uint32_t i = 0; i < 256; ++i) {
      t[i] = i;
      for (int k = 0; k < 8; ++k) t[i] = t[i] & 1 ? 0xEDB88320u ^ t[i] >> 1 : t[i] >> 1;
    }
    return t;
  }();
  std::uint32_t crc = 0xFFFFFFFFu;
  for (const char c : data) crc = table[(crc ^ static_cast<unsigned char>(c)) & 0xFF] ^ crc >> 8;
  return ~crc;
}

}  // namespace

ZipMembers::ZipMembers(std::string_view content) {
  const std::size_t end = content.rfind(end_mark);
  if (end == std::string_view::npos) throw std::runtime_error("it is no zip file, or its end is missing");
  const Fields summary(content, end, end_size, end_mark);
  std::size_t offset = summary.number(16, 4);
  for (std::size_t k = summary.number(10, 2); k > 0; --k) {
    const Fields entry(content, offset, entry_size, entry_mark);
    const std::size_t method = entry.number(10, 2), size = entry.number(24, 4), name_size = entry.number(28, 2);
    const std::string_view name = part(content, offset + entry_size, name_size);
    const std::size_t start = entry.number(42, 4);
    const Fields local(content, start, local_size, local_mark);
    const bool stored = method == 0;
    const std::string_view data = part(content, start + local_size + local.number(26, 2) + local.number(28, 2),
                                       stored ? size : entry.number(20, 4));
    if (stored && crc32(data) != entry.number(16, 4))
      throw std::runtime_error("checksum of its member " + std::string(name) + " does not match");
    if (stored) members_.push_back({name, data});
    offset += entry_size + name_size + entry.number(30, 2) + entry.number(32, 2);
  }
}

std::optional<std::string_view> ZipMembers::find(std::string_view ending) const {
  for (const Member &member : members_)
    if (member.name.size() >= ending.size() && member.name.substr(member.name.size() - ending.size()) == ending)
      return member.data;
  return std::nullopt;
}

}  // namespace allegro_dist

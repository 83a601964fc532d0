// The stored (not compressed) members of a zip file: of torch's archives, all but the module's code, which torch reads
// itself. Layout: APPNOTE.TXT, PKWARE: end of central directory, central directory, local headers.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace allegro_dist {

class ZipMembers {
 public:
  // `content` is the whole file and must outlive this. Throws std::runtime_error: no zip file, truncated, or a member
  // that does not match its checksum.
  explicit ZipMembers(std::string_view content);

  // The first stored member whose name ends in `ending`.
  std::optional<std::string_view> find(std::string_view ending) const;

 private:
  struct Member {
    std::string_view name, data;
  };
  std::vector<Member> members_;
};

}  // namespace allegro_dist

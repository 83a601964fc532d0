#include "archive.hpp"

#include <filesystem>
#include <fstream>
#include <iterator>
#include <sstream>
#include <stdexcept>

#include "named_tensors.hpp"
#include "program_reader.hpp"
#include "zip_members.hpp"

namespace allegro_dist {
namespace {

constexpr int format_version = 2;

std::string content_of(const std::string &path) {
  namespace fs = std::filesystem;
  std::error_code ignored;  // the status says enough
  const auto status = fs::status(path, ignored);
  const auto refuse = [&](const std::string &why) { throw std::runtime_error("archive '" + path + "' " + why); };
  if (fs::is_directory(status)) refuse("is a folder, expected a file written by `allegro-dist deploy`");
  // Opening something else, a pipe say, might wait for ever.
  if (fs::exists(status) && !fs::is_regular_file(status)) refuse("is no regular file");
  std::ifstream file(path, std::ios::binary);
  if (!file) refuse("does not exist or is not readable");
  return {std::istreambuf_iterator<char>(file), {}};
}

// The version is read before anything else, so that another layout cannot be misread.
void require_format(const std::string &path, const ZipMembers &members) {
  const auto text = members.find("/extra/format_version");
  if (!text)
    throw std::runtime_error("archive '" + path +
                             "' has no format_version: it was not written by `allegro-dist deploy`");
  int version = 0;
  if (!(std::istringstream(std::string(*text)) >> version) || version < 1)
    throw std::runtime_error("archive '" + path + "' has format version '" + std::string(*text) +
                             "', expected a positive number");
  const std::string versions = "archive '" + path + "' has format version " + std::to_string(version) +
                               ", this allegro_dist reads version " + std::to_string(format_version);
  if (version > format_version)
    throw std::runtime_error(versions + "; install a newer allegro_dist or deploy the model with this one");
  if (version < format_version) throw std::runtime_error(versions + "; deploy the model again");
}

std::vector<std::string> words(const std::string &text) {
  std::istringstream stream(text);
  return {std::istream_iterator<std::string>(stream), {}};
}

CheckData read_check(const NamedTensors &tensors, int num_types) {
  CheckData check;
  check.center_types = tensors.indices("check.atom_types", num_types);
  if (check.center_types.empty()) throw std::runtime_error("its self-check holds no atoms");
  const int num_atoms = static_cast<int>(check.center_types.size());
  const std::vector<int> index = tensors.indices("check.edge_index", num_atoms);  // [2, edges], sorted by center
  const std::size_t num_edges = index.size() / 2;
  check.edge_vectors = tensors.numbers("check.edge_vectors", {num_edges, 3});
  check.atomic_energy = tensors.numbers("check.atomic_energy", {check.center_types.size()});
  check.edge_gradient = tensors.numbers("check.edge_gradient", {num_edges, 3});
  check.energy_tolerance = tensors.number("check.energy_tolerance");
  check.gradient_tolerance = tensors.number("check.gradient_tolerance");
  check.float32_energy_tolerance = tensors.number("check.float32_energy_tolerance");
  check.float32_gradient_tolerance = tensors.number("check.float32_gradient_tolerance");
  check.edge_offsets.assign(num_atoms + 1, 0);
  for (std::size_t e = 0; e < num_edges; ++e) {
    if (e > 0 && index[e] < index[e - 1]) throw std::runtime_error("'check.edge_index' is not sorted by center");
    ++check.edge_offsets[index[e] + 1];
    check.neighbor_types.push_back(check.center_types[index[num_edges + e]]);
  }
  for (int i = 0; i < num_atoms; ++i) check.edge_offsets[i + 1] += check.edge_offsets[i];
  return check;
}

ArchiveInfo read_info(const NamedTensors &tensors) {
  ArchiveInfo info;
  info.type_names = words(tensors.text("type_names"));
  info.dtype = tensors.text("dtype");
  const std::size_t num_types = info.type_names.size();
  if (num_types == 0) throw std::runtime_error("it names no types");
  info.r_max = tensors.number("r_max");
  info.interaction_range = tensors.number("interaction_range");
  info.cutoffs = tensors.numbers("cutoffs", {num_types, num_types});
  for (const double cutoff : info.cutoffs)
    if (cutoff <= 0.0) throw std::runtime_error("'cutoffs' holds " + std::to_string(cutoff) + ", expected above 0");
  info.check = read_check(tensors, static_cast<int>(num_types));
  info.fused = read_program(tensors, static_cast<int>(num_types));
  if (info.fused && info.fused->cutoffs != info.cutoffs)
    throw std::runtime_error("'fused.cutoffs' differs from 'cutoffs'");
  if (info.fused)
    info.fused->table_intervals =
        index_below(tensors.number("tables.intervals"), max_table_intervals + 1, "tables.intervals");
  info.table_tolerance = tensors.number("tables.tolerance");
  info.torchscript_bytes_per_edge = tensors.number("torchscript.bytes_per_edge");
  if (!(info.torchscript_bytes_per_edge >= 0.0))
    throw std::runtime_error("'torchscript.bytes_per_edge' is " + std::to_string(info.torchscript_bytes_per_edge) +
                             ", expected 0 or more");
  return info;
}

}  // namespace

ArchiveInfo read_archive(const std::string &path) {
  const std::string content = content_of(path);
  const auto reading = [&](const auto &read) {
    try {
      return read();
    } catch (const std::exception &error) {
      throw std::runtime_error("archive '" + path +
                               "' cannot be read: it is truncated, corrupt or no model.pth written by "
                               "`allegro-dist deploy`; copy or deploy it again (" +
                               error.what() + ")");
    }
  };
  const ZipMembers members = reading([&] { return ZipMembers(content); });
  require_format(path, members);
  return reading([&] {
    const auto data = members.find("/extra/engine.safetensors");
    if (!data) throw std::runtime_error("it lacks engine.safetensors");
    return read_info(NamedTensors(*data));
  });
}

}  // namespace allegro_dist

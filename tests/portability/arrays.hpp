// Arrays from standard input and to standard output.
#pragma once

#include <cstdio>
#include <stdexcept>
#include <vector>

template <class T>
std::vector<T> read_array(std::size_t size) {
  std::vector<T> values(size);
  if (std::fread(values.data(), sizeof(T), size, stdin) != size) throw std::runtime_error("the input ends too early");
  return values;
}

template <class T>
void write_array(const std::vector<T> &values) {
  if (std::fwrite(values.data(), sizeof(T), values.size(), stdout) != values.size())
    throw std::runtime_error("the output cannot be written");
}

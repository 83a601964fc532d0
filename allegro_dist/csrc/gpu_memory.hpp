// Memory on a GPU and the ways there and back. Copies are queued on a stream, from and to page-locked memory, so that
// the host waits only where it says so.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <memory>

#include "gpu_runtime.hpp"

namespace allegro_dist {
namespace {

constexpr std::size_t device_block = std::size_t(8) << 20;  // bytes of one allocation, each of which takes its time

// An array that grows and never shrinks; what it held is lost when it grows.
template <class T>
class GrowingArray {
 public:
  explicit GrowingArray(MemorySource source = gpu::device_memory()) : source_(source) {}
  T *sized(std::size_t count) {
    if (count > capacity_) {
      arena_.reset();  // before the new one: both may not fit
      capacity_ = 0;
      arena_ = std::make_unique<Arena>(source_);
      data_ = arena_->allocate<T>(count + count / 4);
      capacity_ = count + count / 4;
    }
    return data_;
  }
  T *get() const { return data_; }

 private:
  MemorySource source_;
  std::unique_ptr<Arena> arena_;
  std::size_t capacity_ = 0;
  T *data_ = nullptr;
};

// The way to the device: a few pieces of page-locked memory, filled while others are being copied.
class Stager {
 public:
  Stager() {
    for (Piece &piece : pieces_) piece.memory = memory_.allocate<char>(piece_bytes);
  }

  // write(to, begin, count) puts numbers begin .. begin + count - 1 at `to`.
  template <class T, class Write>
  void upload(const gpu::Stream &stream, T *to, std::size_t count, const Write &write) {
    constexpr std::size_t most = piece_bytes / sizeof(T);
    for (std::size_t begin = 0; begin < count; begin += most) {
      Piece &piece = pieces_[next_++ % num_pieces];
      piece.copied.wait();
      const std::size_t size = std::min(most, count - begin);
      T *const staged = reinterpret_cast<T *>(piece.memory);
      write(staged, begin, size);
      stream.copy(to + begin, static_cast<const T *>(staged), size);
      piece.copied.record(stream);
    }
  }
  template <class T>
  void upload(const gpu::Stream &stream, T *to, const T *from, std::size_t count) {
    upload(stream, to, count, [&](T *staged, std::size_t begin, std::size_t size) {
      std::memcpy(staged, from + begin, size * sizeof(T));
    });
  }

 private:
  static constexpr std::size_t piece_bytes = std::size_t(2) << 20;
  static constexpr int num_pieces = 4;

  struct Piece {
    char *memory = nullptr;
    gpu::Event copied;
  };

  Arena memory_{gpu::staging_memory()};
  Piece pieces_[num_pieces];
  unsigned next_ = 0;
};

// The way back: valid on the host once the stream has been waited for.
template <class T>
class Download {
 public:
  const T *start(const gpu::Stream &stream, const T *from, std::size_t count) {
    T *const to = host_.sized(count);
    if (count) stream.copy(to, from, count);
    return to;
  }

 private:
  GrowingArray<T> host_{gpu::staging_memory()};
};

}  // namespace
}  // namespace allegro_dist

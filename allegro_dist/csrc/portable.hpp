// Words that let one source serve GCC, Clang and nvcc: functions for host and device, inlining, unrolling.
#pragma once

#ifdef __CUDACC__
#define ALLEGRO_SHARED __host__ __device__ __forceinline__  // runs wherever it is called from
#define ALLEGRO_DEVICE __device__ __forceinline__
#define ALLEGRO_UNROLL _Pragma("unroll")
#else
#define ALLEGRO_SHARED inline __attribute__((always_inline))
#define ALLEGRO_DEVICE inline __attribute__((always_inline))
#define ALLEGRO_UNROLL _Pragma("GCC unroll 32")
#endif

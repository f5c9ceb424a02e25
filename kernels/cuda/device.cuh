// What all kernels include: short names, and PTX instructions as functions of the same name. No kernel has inline assembly of its own.
#pragma once
#include <cuda_fp16.h>

typedef signed char i8;
typedef unsigned int u32;
typedef unsigned long long u64;

// INT4 weights and INT8 activations share a scale in groups of 32 along k.
constexpr u32 GROUP = 32;
constexpr u32 ALL_LANES = 0xffffffffu;

// d[16,8] += a[16,32] · b[32,8], u8 × s8 → s32. Lane (g = lane / 4, t = lane % 4) holds of `a` rows g (0, 2) and g + 8 (1, 3), of `b` column g,
// of `d` rows g (0, 1) and g + 8 (2, 3), columns 2t and 2t + 1.
__device__ __forceinline__ void mma_m16n8k32(int (&d)[4], const u32 (&a)[4], const u32 (&b)[2]) {
  asm volatile("mma.sync.aligned.m16n8k32.row.col.s32.u8.s8.s32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
               : "+r"(d[0]), "+r"(d[1]), "+r"(d[2]), "+r"(d[3])
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

// Weights are read once: they are not kept in L1.
__device__ __forceinline__ uint4 ld_stream(const uint4* p) {
  uint4 v;
  asm volatile("ld.global.nc.L1::no_allocate.v4.u32 {%0,%1,%2,%3}, [%4];" : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w) : "l"(p));
  return v;
}

// An asynchronous copy of 16 (4) bytes to shared memory; with `there` false zeros arrive and nothing is read.
__device__ __forceinline__ void cp_async_16(void* to, const void* from, bool there) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"((u32)__cvta_generic_to_shared(to)), "l"(from), "r"(there ? 16 : 0));
}
__device__ __forceinline__ void cp_async_4(void* to, const void* from, bool there) {
  asm volatile("cp.async.ca.shared.global [%0], [%1], 4, %2;" ::"r"((u32)__cvta_generic_to_shared(to)), "l"(from), "r"(there ? 4 : 0));
}
// Waits for all copies of this thread; the block's other copies are there after the next barrier.
__device__ __forceinline__ void cp_async_wait_all() { asm volatile("cp.async.wait_all;" ::: "memory"); }

__device__ __forceinline__ float max_of_warp(float v) {
#pragma unroll
  for (u32 d = 16; d > 0; d >>= 1) v = fmaxf(v, __shfl_xor_sync(ALL_LANES, v, d));
  return v;
}

__device__ __forceinline__ float sum_of_warp(float v) {
#pragma unroll
  for (u32 d = 16; d > 0; d >>= 1) v += __shfl_xor_sync(ALL_LANES, v, d);
  return v;
}

// silu(gate) · up
__device__ __forceinline__ float silu_mul(float gate, float up) { return __fdiv_rn(gate, 1.f + __expf(-gate)) * up; }

// Largest |v| of the lanes of `mask` as bits; 0x7f800000 or more where one is no finite number.
__device__ __forceinline__ u32 largest_bits(float v, u32 mask) {
  return __reduce_max_sync(mask, __float_as_uint(v) & 0x7fffffffu);
}

// Scale of a group and what its values are multiplied by, as reference::quantize_activations has them: zeros with scale 0 below 1e-30,
// zeros with scale NaN where a value is not finite.
struct Quantizer {
  float scale, inverse;
  __device__ __forceinline__ explicit Quantizer(u32 bits) {
    const float largest = __uint_as_float(bits);
    const bool finite = bits < 0x7f800000u, none = largest < 1e-30f;
    scale = !finite ? __uint_as_float(0x7fffffffu) : none ? 0.f : __fdiv_rn(largest, 127.f);
    inverse = !finite || none ? 0.f : __fdiv_rn(127.f, largest);
  }
  __device__ __forceinline__ int operator()(float v) const {
    // Within ±127, as the largest is; infinity times 0 is NaN, which becomes the integer 0.
    return __float2int_rn(v * inverse);
  }
};

// INT8 activations of a product: xq [m][k]; scales and biases (-8·Σ xq) [k/32][stride], token fastest.
struct Quantized {
  i8* q;
  float* scales;
  int* biases;
  u32 k, stride;

  // One group, an element a lane; all lanes take part.
  __device__ __forceinline__ void put(float v, u32 token, u32 group) const {
    const u32 lane = threadIdx.x & 31;
    const Quantizer quantizer(largest_bits(v, ALL_LANES));
    const int level = quantizer(v);
    const int sum = __reduce_add_sync(ALL_LANES, level);
    q[(u64)token * k + group * GROUP + lane] = (i8)level;
    if (lane == 0) {
      scales[(u64)group * stride + token] = quantizer.scale;
      biases[(u64)group * stride + token] = -8 * sum;
    }
  }
};

// The store of keys and values: blocks of 256 positions, each with all layers; blocks may be shared between sequences.
//
// `tables` u64: addresses of blocks; row i of a batch finds those of its sequence from row_tables[i] on. `layer`: bytes in a block before the layer.
// A layer holds, head after head: keys [256][D], the scales of keys (INT8: f32 [256][D/32]), values [256][D], the scales of values (INT8: f32 [256]).
// A head has d elements (even), then zeros up to D, one of 32, 64, 128, 256. INT8 keys have their elements in the order 0, d/2, 1, d/2 + 1, …:
// the pairs that RoPE rotates side by side.
#pragma once
#include "device.cuh"

constexpr u32 BLOCK = 256;
// What is no number, for a value that a type cannot hold: it must be seen.
#define NOT_A_NUMBER __uint_as_float(0x7fffffffu)

struct Int8 {
  typedef i8 Element;
  // Bytes of a head with `padded` elements a position.
  __device__ static __forceinline__ u32 head_bytes(u32 padded) { return BLOCK * (2 * padded + padded / 8 + 4); }
  __device__ static __forceinline__ u32 values_at(u32 padded) { return BLOCK * (padded + padded / 8); }
};
struct Half {
  typedef half Element;
  __device__ static __forceinline__ u32 head_bytes(u32 padded) { return BLOCK * 4 * padded; }
  __device__ static __forceinline__ u32 values_at(u32 padded) { return BLOCK * 2 * padded; }
};
struct Float {
  typedef float Element;
  __device__ static __forceinline__ u32 head_bytes(u32 padded) { return BLOCK * 8 * padded; }
  __device__ static __forceinline__ u32 values_at(u32 padded) { return BLOCK * 4 * padded; }
};

__device__ __forceinline__ float load(half v) { return __half2float(v); }
__device__ __forceinline__ float load(float v) { return v; }
__device__ __forceinline__ void store(half& to, float v) { to = __float2half_rn(fabsf(v) < 65520.f ? v : NOT_A_NUMBER); }
__device__ __forceinline__ void store(float& to, float v) { to = v; }

// Keys and values of a head in a block.
template <class Kind>
struct Head {
  typedef typename Kind::Element Element;
  char* bytes;
  u32 padded;

  __device__ __forceinline__ Head(u64 block, u64 layer, u32 head, u32 padded)
      : bytes(reinterpret_cast<char*>(block + layer) + (u64)head * Kind::head_bytes(padded)), padded(padded) {}
  __device__ __forceinline__ Element* keys() const { return reinterpret_cast<Element*>(bytes); }
  __device__ __forceinline__ Element* values() const { return reinterpret_cast<Element*>(bytes + Kind::values_at(padded)); }
  // Of INT8 alone.
  __device__ __forceinline__ float* key_scales() const { return reinterpret_cast<float*>(bytes + BLOCK * padded); }
  __device__ __forceinline__ float* value_scales() const { return reinterpret_cast<float*>(bytes + Kind::values_at(padded) + BLOCK * padded); }
};

// A warp writes a rotated head in pair order, quantised: `pair(p)` are the elements p and p + d/2.
template <class Pair>
__device__ __forceinline__ void put_pairs(const Pair& pair, u32 d, u32 padded, i8* out, float* scales) {
#pragma unroll 1
  for (u32 first = 0; first < padded / 2; first += 32) {
    const u32 p = first + threadIdx.x;
    const float2 v = p < d / 2 ? pair(p) : make_float2(0.f, 0.f);
    u32 bits = max(__float_as_uint(v.x) & 0x7fffffffu, __float_as_uint(v.y) & 0x7fffffffu);
#pragma unroll
    for (u32 lane = 8; lane > 0; lane >>= 1) bits = max(bits, __shfl_xor_sync(ALL_LANES, bits, lane));
    const Quantizer quantizer(bits);
    if (p < padded / 2) {
      reinterpret_cast<char2*>(out)[p] = make_char2((i8)quantizer(v.x), (i8)quantizer(v.y));
      if (p % 16 == 0) scales[p / 16] = quantizer.scale;
    }
  }
}

// The same unquantised, elements in their own order.
template <class Pair, class Element>
__device__ __forceinline__ void put_pairs(const Pair& pair, u32 d, u32 padded, Element* out) {
#pragma unroll 1
  for (u32 p = threadIdx.x; p < d / 2; p += 32) {
    const float2 v = pair(p);
    store(out[p], v.x);
    store(out[p + d / 2], v.y);
  }
#pragma unroll 1
  for (u32 i = d + threadIdx.x; i < padded; i += 32) store(out[i], 0.f);
}

// Elements p and p + d/2 turned by an angle.
__device__ __forceinline__ float2 turned(float a, float b, float2 cos_sin) {
  return make_float2(a * cos_sin.x - b * cos_sin.y, b * cos_sin.x + a * cos_sin.y);
}

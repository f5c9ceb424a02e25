// Keys and values that move to other positions, and how far computed values are from moved ones.
//
// move_KIND: positions from .. from + run of `source` (addresses of blocks) go to at .. at + run of `target`, keys turned by cos_sin float2 [d/2].
//   Grid: (run, kv_heads) warps. Reference: KvStore::read, ops::rope, KvStore::put.
// value_distance_KIND: out f32 [n] = Σ (new − held)² over the values of the rows `rows` [n]; qkv and the tables as in attention.cu. Grid: n warps.
#include "store.cuh"

__device__ __forceinline__ float key_element(const Head<Int8>& head, u32 at, u32 i, u32 d) {
  // Pair order: p, then p + d/2.
  const u32 place = i < d / 2 ? 2 * i : 2 * (i - d / 2) + 1;
  return (float)head.keys()[at * head.padded + place] * head.key_scales()[(at * head.padded + place) / GROUP];
}
template <class Kind>
__device__ __forceinline__ float key_element(const Head<Kind>& head, u32 at, u32 i, u32) {
  return load(head.keys()[at * head.padded + i]);
}

__device__ __forceinline__ float value_element(const Head<Int8>& head, u32 at, u32 i) {
  return (float)head.values()[at * head.padded + i] * head.value_scales()[at];
}
template <class Kind>
__device__ __forceinline__ float value_element(const Head<Kind>& head, u32 at, u32 i) {
  return load(head.values()[at * head.padded + i]);
}

template <class Pair>
__device__ __forceinline__ void put_key(const Pair& pair, const Head<Int8>& to, u32 at, u32 d) {
  put_pairs(pair, d, to.padded, to.keys() + at * to.padded, to.key_scales() + at * (to.padded / GROUP));
}
template <class Pair, class Kind>
__device__ __forceinline__ void put_key(const Pair& pair, const Head<Kind>& to, u32 at, u32 d) {
  put_pairs(pair, d, to.padded, to.keys() + at * to.padded);
}

__device__ __forceinline__ void copy_scale(const Head<Int8>& from, u32 from_at, const Head<Int8>& to, u32 to_at) {
  if (threadIdx.x == 0) to.value_scales()[to_at] = from.value_scales()[from_at];
}
template <class Kind>
__device__ __forceinline__ void copy_scale(const Head<Kind>&, u32, const Head<Kind>&, u32) {}

template <class Kind>
__device__ __forceinline__ void move(const u64* source, const u64* target, const float2* cos_sin, u32 from, u32 at, u32 d, u32 padded, u64 layer) {
  const u32 there = from + blockIdx.x, here = at + blockIdx.x;
  const Head<Kind> old(source[there / BLOCK], layer, blockIdx.y, padded), fresh(target[here / BLOCK], layer, blockIdx.y, padded);
  const u32 read = there % BLOCK, write = here % BLOCK;
  const auto pair = [&](u32 p) { return turned(key_element(old, read, p, d), key_element(old, read, p + d / 2, d), cos_sin[p]); };
  put_key(pair, fresh, write, d);
#pragma unroll 1
  for (u32 i = threadIdx.x; i < padded; i += 32) fresh.values()[write * padded + i] = old.values()[read * padded + i];
  copy_scale(old, read, fresh, write);
}

template <class Kind>
__device__ __forceinline__ void value_distance(const float* qkv, const u32* positions, const u64* tables, const u32* row_tables, const u32* rows, float* out,
                                               u32 heads, u32 kv_heads, u32 d, u32 padded, u32 stride, u64 layer) {
  const u32 row = rows[blockIdx.x], position = positions[row];
  const u64 block = tables[row_tables[row] + position / BLOCK];
  float sum = 0.f;
#pragma unroll 1
  for (u32 head = 0; head < kv_heads; ++head) {
    const float* fresh = qkv + (u64)row * stride + (heads + kv_heads + head) * d;
    const Head<Kind> old(block, layer, head, padded);
#pragma unroll 1
    for (u32 i = threadIdx.x; i < d; i += 32) {
      const float difference = fresh[i] - value_element(old, position % BLOCK, i);
      sum = __fmaf_rn(difference, difference, sum);
    }
  }
  sum = sum_of_warp(sum);
  if (threadIdx.x == 0) out[blockIdx.x] = sum;
}

#define MOVED(NAME, KIND)                                                                                                                     \
  extern "C" __global__ void __launch_bounds__(32)                                                                                            \
      move_##NAME(const u64* __restrict__ source, const u64* __restrict__ target, const float2* __restrict__ cos_sin, u32 from, u32 at,       \
                  u32 d, u32 padded, u64 layer) {                                                                                             \
    move<KIND>(source, target, cos_sin, from, at, d, padded, layer);                                                                          \
  }                                                                                                                                           \
  extern "C" __global__ void __launch_bounds__(32)                                                                                            \
      value_distance_##NAME(const float* __restrict__ qkv, const u32* __restrict__ positions, const u64* __restrict__ tables,                 \
                            const u32* __restrict__ row_tables, const u32* __restrict__ rows, float* out, u32 heads, u32 kv_heads, u32 d,     \
                            u32 padded, u32 stride, u64 layer) {                                                                              \
    value_distance<KIND>(qkv, positions, tables, row_tables, rows, out, heads, kv_heads, d, padded, stride, layer);                                 \
  }
MOVED(int8, Int8)
MOVED(f16, Half)
MOVED(f32, Float)

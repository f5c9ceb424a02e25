// Attention over a KV store in INT8, for tokens that are decoded or verified together. Heads of d = 64 or 128.
//
// The store of a layer: keys i8 [kv_heads][capacity][d], a head's elements in the order 0, d/2, 1, d/2 + 1, … (the pairs that RoPE rotates side
//   by side), key_scales f32 [kv_heads][capacity][d/32]; values i8 [kv_heads][capacity][d], value_scales f32 [kv_heads][capacity].
// rope_append: qkv f32 [m][heads + 2·kv_heads][d] (queries, keys, values); cos_sin float2 [position][d/2]. Queries and keys are rotated and quantised,
//   keys and values appended at past + token; q i8 [m][heads][d], q_scales f32 [m][heads][d/32].
//   Grid: (m, heads + 2·kv_heads) warps. Reference: reference::quantize_key and quantize_value of the rotated values.
// attention_64, attention_128: token i sees positions 0 ..= past + i; `partial` f32 [m][heads][splits][d + 8] gets the sum of values weighted with
//   exp(score - largest), the largest score, the sum of weights and six floats that nobody writes, of each 256 positions.
//   Grid: (splits, heads, m) blocks of 128 threads, splits = ⌈(past + m) / 256⌉.
// attention_join: joins the splits and quantises: xq, xs, xb of k = heads·d as in activations.cu. Grid: (heads, m) blocks of d threads.
//   Reference of both: reference::attention on the dequantised store (f32 instead of f64; weights are not rounded, unlike the CPU's).
// Why: scores are integer products by groups, exact. What a split covers depends on the position alone, and splits are joined in their order: a
//   token has the same bits in any batch. A key is read by d/16 lanes side by side, a value by d/4: requests fill their sectors.
#include "device.cuh"

#define MINUS_INFINITY __uint_as_float(0xff800000u)
constexpr u32 SPLIT = 256;
constexpr u32 THREADS = 128;
constexpr u32 WARPS = THREADS / 32;

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

// Rotates a head, and writes it in pair order: a lane a pair, 16 lanes a group.
__device__ __forceinline__ void rotate(const float* x, const float2* cos_sin, char2* out, float* scales, u32 d) {
#pragma unroll 1
  for (u32 pair = threadIdx.x; pair < d / 2; pair += 32) {
    const float2 cs = cos_sin[pair];
    const float a = x[pair], b = x[pair + d / 2];
    const float first = a * cs.x - b * cs.y, second = b * cs.x + a * cs.y;
    u32 bits = max(__float_as_uint(first) & 0x7fffffffu, __float_as_uint(second) & 0x7fffffffu);
#pragma unroll
    for (u32 lane = 8; lane > 0; lane >>= 1) bits = max(bits, __shfl_xor_sync(ALL_LANES, bits, lane));
    const Quantizer quantizer(bits);
    out[pair] = make_char2((i8)quantizer(first), (i8)quantizer(second));
    if (pair % 16 == 0) scales[pair / 16] = quantizer.scale;
  }
}

extern "C" __global__ void __launch_bounds__(32)
rope_append(const float* __restrict__ qkv, const float2* __restrict__ cos_sin, i8* q, float* q_scales, i8* keys, float* key_scales, i8* values,
            float* value_scales, u32 heads, u32 kv_heads, u32 d, u32 past, u32 capacity) {
  const u32 token = blockIdx.x, head = blockIdx.y, position = past + token, groups = d / GROUP;
  const float* x = qkv + ((u64)token * gridDim.y + head) * d;
  const float2* angles = cos_sin + (u64)position * (d / 2);
  if (head < heads) {
    const u64 row = (u64)token * heads + head;
    rotate(x, angles, reinterpret_cast<char2*>(q + row * d), q_scales + row * groups, d);
  } else if (head < heads + kv_heads) {
    const u64 row = (u64)(head - heads) * capacity + position;
    rotate(x, angles, reinterpret_cast<char2*>(keys + row * d), key_scales + row * groups, d);
  } else {
    const u64 row = (u64)(head - heads - kv_heads) * capacity + position;
    u32 bits = 0;
#pragma unroll 1
    for (u32 i = threadIdx.x; i < d; i += 32) bits = max(bits, __float_as_uint(x[i]) & 0x7fffffffu);
    const Quantizer quantizer(__reduce_max_sync(ALL_LANES, bits));
#pragma unroll 1
    for (u32 i = threadIdx.x; i < d; i += 32) values[row * d + i] = (i8)quantizer(x[i]);
    if (threadIdx.x == 0) value_scales[row] = quantizer.scale;
  }
}

// Scores of `n` positions from `keys` on into `scores`: d/16 lanes a position, 16 elements a lane.
template <u32 D>
__device__ __forceinline__ void score(const uint4* q, const float* q_scales, const uint4* keys, const float* key_scales, float scale, u32 n,
                                      float* scores) {
  constexpr u32 LANES = D / 16, AT_ONCE = THREADS / LANES;
  const u32 part = threadIdx.x % LANES;
  const uint4 mine = q[part];
  const float q_scale = q_scales[part / 2] * scale;
  for (u32 from = 0; from < n; from += AT_ONCE) {
    const u32 at = from + threadIdx.x / LANES;
    // Lanes past the end take part in the shuffles, with the last position.
    const u32 read = min(at, n - 1);
    const uint4 key = keys[read * LANES + part];
    int dot = __dp4a((int)mine.x, (int)key.x, 0);
    dot = __dp4a((int)mine.y, (int)key.y, dot);
    dot = __dp4a((int)mine.z, (int)key.z, dot);
    dot = __dp4a((int)mine.w, (int)key.w, dot);
    dot += __shfl_xor_sync(ALL_LANES, dot, 1);
    float sum = (float)dot * (q_scale * key_scales[read * (D / GROUP) + part / 2]);
#pragma unroll
    for (u32 lane = 2; lane < LANES; lane <<= 1) sum += __shfl_xor_sync(ALL_LANES, sum, lane);
    if (part == 0 && at < n) scores[at] = sum;
  }
}

// Scores become weights times the scales of their values; returns the largest score and the sum of weights.
__device__ __forceinline__ float2 weigh(float* scores, const float* value_scales, u32 n) {
  __shared__ float largest_of[WARPS], sum_of[WARPS];
  const u32 warp = threadIdx.x / 32;
  float largest = MINUS_INFINITY;
#pragma unroll 1
  for (u32 i = threadIdx.x; i < n; i += THREADS) largest = fmaxf(largest, scores[i]);
  largest = max_of_warp(largest);
  if (threadIdx.x % 32 == 0) largest_of[warp] = largest;
  __syncthreads();
#pragma unroll
  for (u32 w = 0; w < WARPS; ++w) largest = fmaxf(largest, largest_of[w]);
  float sum = 0.f;
#pragma unroll 1
  for (u32 i = threadIdx.x; i < n; i += THREADS) {
    const float weight = __expf(scores[i] - largest);
    sum += weight;
    scores[i] = weight * value_scales[i];
  }
  sum = sum_of_warp(sum);
  if (threadIdx.x % 32 == 0) sum_of[warp] = sum;
  __syncthreads();
  sum = sum_of[0];
#pragma unroll
  for (u32 w = 1; w < WARPS; ++w) sum += sum_of[w];
  return make_float2(largest, sum);
}

// Sum of the values of `n` positions, weighted: d/4 threads a position, four channels each. Thread c < d returns channel c.
template <u32 D>
__device__ __forceinline__ float mix(const float* weights, const char4* values, u32 n) {
  constexpr u32 LANES = D / 4, AT_ONCE = THREADS / LANES;
  __shared__ __align__(16) float4 sums[AT_ONCE][LANES];
  const u32 part = threadIdx.x % LANES, own = threadIdx.x / LANES;
  float4 sum = make_float4(0.f, 0.f, 0.f, 0.f);
  for (u32 at = own; at < n; at += AT_ONCE) {
    const float weight = weights[at];
    const char4 v = values[at * LANES + part];
    sum.x = __fmaf_rn(weight, (float)v.x, sum.x);
    sum.y = __fmaf_rn(weight, (float)v.y, sum.y);
    sum.z = __fmaf_rn(weight, (float)v.z, sum.z);
    sum.w = __fmaf_rn(weight, (float)v.w, sum.w);
  }
  sums[own][part] = sum;
  __syncthreads();
  float total = 0.f;
  if (threadIdx.x < D) {
    total = reinterpret_cast<const float*>(sums[0])[threadIdx.x];
#pragma unroll
    for (u32 i = 1; i < AT_ONCE; ++i) total += reinterpret_cast<const float*>(sums[i])[threadIdx.x];
  }
  return total;
}

template <u32 D>
__device__ __forceinline__ void attend(const i8* q, const float* q_scales, const i8* keys, const float* key_scales, const i8* values,
                                       const float* value_scales, float* partial, u32 kv_heads, u32 past, u32 capacity, float scale) {
  __shared__ float scores[SPLIT];
  const u32 split = blockIdx.x, head = blockIdx.y, token = blockIdx.z, heads = gridDim.y, groups = D / GROUP;
  const u32 first = split * SPLIT, visible = past + token + 1;
  const u32 n = visible > first ? min(SPLIT, visible - first) : 0;
  const u64 row = (u64)token * heads + head, store = (u64)(head / (heads / kv_heads)) * capacity + first;
  float* out = partial + (row * gridDim.x + split) * (D + 8);
  if (n == 0) {
    // A later token's positions.
    if (threadIdx.x < D) out[threadIdx.x] = 0.f;
    if (threadIdx.x == 0) {
      out[D] = MINUS_INFINITY;
      out[D + 1] = 0.f;
    }
    return;
  }
  score<D>(reinterpret_cast<const uint4*>(q + row * D), q_scales + row * groups, reinterpret_cast<const uint4*>(keys + store * D),
           key_scales + store * groups, scale, n, scores);
  __syncthreads();
  const float2 found = weigh(scores, value_scales + store, n);
  const float sum = mix<D>(scores, reinterpret_cast<const char4*>(values + store * D), n);
  if (threadIdx.x < D) out[threadIdx.x] = sum;
  if (threadIdx.x == 0) {
    out[D] = found.x;
    out[D + 1] = found.y;
  }
}

#define ATTENTION(D)                                                                                                                          \
  extern "C" __global__ void __launch_bounds__(THREADS)                                                                                       \
      attention_##D(const i8* __restrict__ q, const float* __restrict__ q_scales, const i8* __restrict__ keys,                                \
                    const float* __restrict__ key_scales, const i8* __restrict__ values, const float* __restrict__ value_scales,              \
                    float* partial, u32 kv_heads, u32 past, u32 capacity, float scale) {                                                      \
    attend<D>(q, q_scales, keys, key_scales, values, value_scales, partial, kv_heads, past, capacity, scale);                                 \
  }
ATTENTION(64)
ATTENTION(128)

extern "C" __global__ void __launch_bounds__(128)
attention_join(const float* __restrict__ partial, i8* q, float* scales, int* biases, u32 splits, u32 stride) {
  const u32 head = blockIdx.x, token = blockIdx.y, heads = gridDim.x, d = blockDim.x, channel = threadIdx.x;
  const float* from = partial + ((u64)token * heads + head) * splits * (d + 8);
  float largest = from[d];
#pragma unroll 1
  for (u32 s = 1; s < splits; ++s) largest = fmaxf(largest, from[s * (d + 8) + d]);
  float sum = 0.f, weights = 0.f;
#pragma unroll 1
  for (u32 s = 0; s < splits; ++s) {
    const float* split = from + s * (d + 8);
    const float factor = __expf(split[d] - largest);
    sum = __fmaf_rn(factor, split[channel], sum);
    weights = __fmaf_rn(factor, split[d + 1], weights);
  }
  Quantized{q, scales, biases, heads * d, stride}.put(__fdiv_rn(sum, weights), token, (head * d + channel) / GROUP);
}

// Attention over keys and values in INT8, f16 or f32, for the rows of a batch: tokens at any position of their sequences.
//
// rope_append_KIND: qkv f32 [m][stride], of a row heads + 2·kv_heads heads of d (queries, keys, values). Queries and keys are normed where there are
//   weights (`q_norm`, `k_norm` f32 [d] or null), turned by cos_sin float2 [m][d/2]; keys and values go to positions[i] of the row's sequence.
//   q: INT8 [m][heads][D] as a key, q_scales f32 [m][heads][D/32]; else f32 [m][heads][D].
//   Grid: (m, heads + 2·kv_heads) warps. Reference: reference::quantize_key and quantize_value of the rotated values.
// attention_KIND_D: row i sees positions 0 ..= positions[i]; `partial` f32 [m][heads][splits][D + 8] gets, of each block of 256 positions that it sees,
//   the sum of values weighted with exp(score - largest), the largest score and the sum of weights; six floats nobody writes.
//   Grid: (splits, heads, m) blocks of 128 threads, splits enough for the last position.
// attention_join_quantize, attention_join: joins the splits: xq, xs, xb of k as in activations.cu, or f32 [m][k]; k ≥ heads·d, zeros behind. Grid:
//   (k/32, m) warps. Reference of both: reference::attention on the dequantised store (f32 instead of f64; weights are not rounded, unlike the CPU's).
// Why: scores of INT8 are integer products by groups, exact. What a split covers depends on the position alone, and splits are joined in their order:
//   a token has the same bits in any batch. A key is read by D/16 lanes side by side, a value by D/4: requests fill their sectors.
#include "store.cuh"

#define MINUS_INFINITY __uint_as_float(0xff800000u)
constexpr u32 THREADS = 128;
constexpr u32 WARPS = THREADS / 32;
// Floats of a split beside its D sums.
constexpr u32 TAIL = 8;

// Elements of a head of qkv, normed where there is a weight.
struct Normed {
  const float* x;
  const float* weight;
  float inverse;

  __device__ __forceinline__ Normed(const float* x, const float* weight, u32 d, float eps) : x(x), weight(weight), inverse(1.f) {
    if (!weight) return;
    float squares = 0.f;
#pragma unroll 1
    for (u32 i = threadIdx.x; i < d; i += 32) squares = __fmaf_rn(x[i], x[i], squares);
    inverse = __fdiv_rn(1.f, __fsqrt_rn(__fdiv_rn(sum_of_warp(squares), (float)d) + eps));
  }
  __device__ __forceinline__ float operator[](u32 i) const { return weight ? x[i] * inverse * weight[i] : x[i]; }
};

__device__ __forceinline__ void put_value(const float* x, const Head<Int8>& head, u32 at, u32 d) {
  u32 bits = 0;
#pragma unroll 1
  for (u32 i = threadIdx.x; i < d; i += 32) bits = max(bits, __float_as_uint(x[i]) & 0x7fffffffu);
  const Quantizer quantizer(__reduce_max_sync(ALL_LANES, bits));
#pragma unroll 1
  for (u32 i = threadIdx.x; i < head.padded; i += 32) head.values()[at * head.padded + i] = (i8)quantizer(i < d ? x[i] : 0.f);
  if (threadIdx.x == 0) head.value_scales()[at] = quantizer.scale;
}

template <class Kind>
__device__ __forceinline__ void put_value(const float* x, const Head<Kind>& head, u32 at, u32 d) {
#pragma unroll 1
  for (u32 i = threadIdx.x; i < head.padded; i += 32) store(head.values()[at * head.padded + i], i < d ? x[i] : 0.f);
}

template <class Pair>
__device__ __forceinline__ void put_key(const Pair& pair, const Head<Int8>& head, u32 at, u32 d) {
  put_pairs(pair, d, head.padded, head.keys() + at * head.padded, head.key_scales() + at * (head.padded / GROUP));
}

template <class Pair, class Kind>
__device__ __forceinline__ void put_key(const Pair& pair, const Head<Kind>& head, u32 at, u32 d) {
  put_pairs(pair, d, head.padded, head.keys() + at * head.padded);
}

template <class Pair>
__device__ __forceinline__ void put_query(const Pair& pair, u32 d, u32 padded, i8* q, float* scales, u64 row) {
  put_pairs(pair, d, padded, q + row * padded, scales + row * (padded / GROUP));
}

template <class Pair>
__device__ __forceinline__ void put_query(const Pair& pair, u32 d, u32 padded, float* q, float*, u64 row) {
  put_pairs(pair, d, padded, q + row * padded);
}

template <class Kind, class Query>
__device__ __forceinline__ void append(const float* qkv, const float2* cos_sin, const u32* positions, const u64* tables, const u32* row_tables,
                                       const float* q_norm, const float* k_norm, Query* q, float* q_scales, u32 heads, u32 kv_heads, u32 d, u32 padded,
                                       u32 stride, u64 layer, float eps) {
  const u32 row = blockIdx.x, head = blockIdx.y;
  const float* x = qkv + (u64)row * stride + head * d;
  const bool is_query = head < heads, is_value = head >= heads + kv_heads;
  const Normed normed(x, is_query ? q_norm : is_value ? nullptr : k_norm, d, eps);
  const float2* angles = cos_sin + (u64)row * (d / 2);
  const auto pair = [&](u32 p) { return turned(normed[p], normed[p + d / 2], angles[p]); };
  if (is_query) return put_query(pair, d, padded, q, q_scales, (u64)row * heads + head);
  const u32 position = positions[row];
  const Head<Kind> store(tables[row_tables[row] + position / BLOCK], layer, (head - heads) % kv_heads, padded);
  if (is_value) return put_value(x, store, position % BLOCK, d);
  put_key(pair, store, position % BLOCK, d);
}

#define ROPE_APPEND(NAME, KIND, QUERY)                                                                                                        \
  extern "C" __global__ void __launch_bounds__(32)                                                                                            \
      rope_append_##NAME(const float* __restrict__ qkv, const float2* __restrict__ cos_sin, const u32* __restrict__ positions,                \
                         const u64* __restrict__ tables, const u32* __restrict__ row_tables, const float* __restrict__ q_norm,                \
                         const float* __restrict__ k_norm, QUERY* q, float* q_scales, u32 heads, u32 kv_heads, u32 d, u32 padded, u32 stride, \
                         u64 layer, float eps) {                                                                                              \
    append<KIND>(qkv, cos_sin, positions, tables, row_tables, q_norm, k_norm, q, q_scales, heads, kv_heads, d, padded, stride, layer, eps);   \
  }
ROPE_APPEND(int8, Int8, i8)
ROPE_APPEND(f16, Half, float)
ROPE_APPEND(f32, Float, float)

// The lane's part of a query, and its product with a key: 16 elements of D, the sum over D/16 lanes comes after.
template <u32 D>
struct QueryInt8 {
  uint4 levels;
  float scale;
  __device__ __forceinline__ QueryInt8(const i8* q, const float* scales, u64 row, u32 part, float by) {
    levels = reinterpret_cast<const uint4*>(q + row * D)[part];
    scale = scales[row * (D / GROUP) + part / 2] * by;
  }
  __device__ __forceinline__ float operator()(const Head<Int8>& head, u32 at, u32 part) const {
    const uint4 key = reinterpret_cast<const uint4*>(head.keys())[at * (D / 16) + part];
    int dot = __dp4a((int)levels.x, (int)key.x, 0);
    dot = __dp4a((int)levels.y, (int)key.y, dot);
    dot = __dp4a((int)levels.z, (int)key.z, dot);
    dot = __dp4a((int)levels.w, (int)key.w, dot);
    dot += __shfl_xor_sync(ALL_LANES, dot, 1);
    return (float)dot * (scale * head.key_scales()[at * (D / GROUP) + part / 2]);
  }
  // Lanes that have the same sum already.
  static constexpr u32 JOINED = 2;
};

__device__ __forceinline__ float dot4(float4 a, float4 b, float sum) {
  return __fmaf_rn(a.w, b.w, __fmaf_rn(a.z, b.z, __fmaf_rn(a.y, b.y, __fmaf_rn(a.x, b.x, sum))));
}

template <u32 D>
struct QueryFloat {
  // Elements 4·(i·D/16 + part) …: lanes side by side read side by side.
  float4 q[4];
  __device__ __forceinline__ QueryFloat(const float* from, const float*, u64 row, u32 part, float by) {
#pragma unroll
    for (u32 i = 0; i < 4; ++i) {
      const float4 v = reinterpret_cast<const float4*>(from + row * D)[i * (D / 16) + part];
      q[i] = make_float4(v.x * by, v.y * by, v.z * by, v.w * by);
    }
  }
  __device__ __forceinline__ float operator()(const Head<Float>& head, u32 at, u32 part) const {
    const float4* key = reinterpret_cast<const float4*>(head.keys() + at * D);
    float sum = 0.f;
#pragma unroll
    for (u32 i = 0; i < 4; ++i) sum = dot4(q[i], key[i * (D / 16) + part], sum);
    return sum;
  }
  __device__ __forceinline__ float operator()(const Head<Half>& head, u32 at, u32 part) const {
    const uint2* key = reinterpret_cast<const uint2*>(head.keys() + at * D);
    float sum = 0.f;
#pragma unroll
    for (u32 i = 0; i < 4; ++i) {
      const uint2 k = key[i * (D / 16) + part];
      const float2 low = __half22float2(*reinterpret_cast<const half2*>(&k.x)), high = __half22float2(*reinterpret_cast<const half2*>(&k.y));
      sum = dot4(q[i], make_float4(low.x, low.y, high.x, high.y), sum);
    }
    return sum;
  }
  static constexpr u32 JOINED = 1;
};

// Scores of the first `n` positions of a block into `scores`: D/16 lanes a position.
template <u32 D, class Kind, class Query>
__device__ __forceinline__ void score(const Query& query, const Head<Kind>& head, u32 n, float* scores) {
  constexpr u32 LANES = D / 16, AT_ONCE = THREADS / LANES;
  const u32 part = threadIdx.x % LANES;
  for (u32 from = 0; from < n; from += AT_ONCE) {
    const u32 at = from + threadIdx.x / LANES;
    // Lanes past the end take part in the shuffles, with the last position.
    float sum = query(head, min(at, n - 1), part);
#pragma unroll
    for (u32 lane = Query::JOINED; lane < LANES; lane <<= 1) sum += __shfl_xor_sync(ALL_LANES, sum, lane);
    if (part == 0 && at < n) scores[at] = sum;
  }
}

__device__ __forceinline__ float value_scale(const Head<Int8>& head, u32 at) { return head.value_scales()[at]; }
template <class Kind>
__device__ __forceinline__ float value_scale(const Head<Kind>&, u32) {
  return 1.f;
}

// Scores become weights times the scales of their values; returns the largest score and the sum of weights.
template <class Kind>
__device__ __forceinline__ float2 weigh(float* scores, const Head<Kind>& head, u32 n) {
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
    scores[i] = weight * value_scale(head, i);
  }
  sum = sum_of_warp(sum);
  if (threadIdx.x % 32 == 0) sum_of[warp] = sum;
  __syncthreads();
  sum = sum_of[0];
#pragma unroll
  for (u32 w = 1; w < WARPS; ++w) sum += sum_of[w];
  return make_float2(largest, sum);
}

// Four elements of a value.
__device__ __forceinline__ float4 four(const i8* from) {
  const char4 v = *reinterpret_cast<const char4*>(from);
  return make_float4((float)v.x, (float)v.y, (float)v.z, (float)v.w);
}
__device__ __forceinline__ float4 four(const half* from) {
  const uint2 v = *reinterpret_cast<const uint2*>(from);
  const float2 low = __half22float2(*reinterpret_cast<const half2*>(&v.x)), high = __half22float2(*reinterpret_cast<const half2*>(&v.y));
  return make_float4(low.x, low.y, high.x, high.y);
}
__device__ __forceinline__ float4 four(const float* from) { return *reinterpret_cast<const float4*>(from); }

// Sums of the values of `n` positions, weighted, into `out` [D]: D/4 threads a position, four channels each.
template <u32 D, class Kind>
__device__ __forceinline__ void mix(const float* weights, const Head<Kind>& head, u32 n, float* out) {
  constexpr u32 LANES = D / 4, AT_ONCE = THREADS / LANES;
  __shared__ __align__(16) float4 sums[AT_ONCE][LANES];
  const u32 part = threadIdx.x % LANES, own = threadIdx.x / LANES;
  float4 sum = make_float4(0.f, 0.f, 0.f, 0.f);
  for (u32 at = own; at < n; at += AT_ONCE) {
    const float weight = weights[at];
    const float4 v = four(head.values() + at * D + 4 * part);
    sum.x = __fmaf_rn(weight, v.x, sum.x);
    sum.y = __fmaf_rn(weight, v.y, sum.y);
    sum.z = __fmaf_rn(weight, v.z, sum.z);
    sum.w = __fmaf_rn(weight, v.w, sum.w);
  }
  sums[own][part] = sum;
  __syncthreads();
#pragma unroll
  for (u32 first = 0; first < D; first += THREADS) {
    const u32 channel = first + threadIdx.x;
    if (D % THREADS != 0 && channel >= D) break;
    float total = reinterpret_cast<const float*>(sums[0])[channel];
#pragma unroll
    for (u32 i = 1; i < AT_ONCE; ++i) total += reinterpret_cast<const float*>(sums[i])[channel];
    out[channel] = total;
  }
}

template <u32 D, class Kind, class Lane, class Query>
__device__ __forceinline__ void attend(const Query* q, const float* q_scales, const u32* positions, const u64* tables, const u32* row_tables,
                                       float* partial, u32 kv_heads, u64 layer, float scale) {
  __shared__ float scores[BLOCK];
  const u32 split = blockIdx.x, head = blockIdx.y, row = blockIdx.z, heads = gridDim.y;
  const u32 first = split * BLOCK, visible = positions[row] + 1;
  if (visible <= first) return;
  const u32 n = min(BLOCK, visible - first);
  const u64 of_row = (u64)row * heads + head;
  const Head<Kind> store(tables[row_tables[row] + split], layer, head / (heads / kv_heads), D);
  float* out = partial + (of_row * gridDim.x + split) * (D + TAIL);
  score<D>(Lane(q, q_scales, of_row, threadIdx.x % (D / 16), scale), store, n, scores);
  __syncthreads();
  const float2 found = weigh(scores, store, n);
  mix<D>(scores, store, n, out);
  if (threadIdx.x == 0) {
    out[D] = found.x;
    out[D + 1] = found.y;
  }
}

#define ATTENTION(NAME, KIND, LANE, QUERY, D)                                                                                                  \
  extern "C" __global__ void __launch_bounds__(THREADS, 8)                                                                                    \
      attention_##NAME##_##D(const QUERY* __restrict__ q, const float* __restrict__ q_scales, const u32* __restrict__ positions,              \
                             const u64* __restrict__ tables, const u32* __restrict__ row_tables, float* partial, u32 kv_heads, u64 layer,     \
                             float scale) {                                                                                                   \
    attend<D, KIND, LANE<D>>(q, q_scales, positions, tables, row_tables, partial, kv_heads, layer, scale);                                    \
  }
#define ATTENTION_OF(D)                           \
  ATTENTION(int8, Int8, QueryInt8, i8, D)         \
  ATTENTION(f16, Half, QueryFloat, float, D)      \
  ATTENTION(f32, Float, QueryFloat, float, D)
ATTENTION_OF(32)
ATTENTION_OF(64)
ATTENTION_OF(128)
ATTENTION_OF(256)

// Element `channel` of a row, of its splits.
__device__ __forceinline__ float join(const float* partial, const u32* positions, u32 channel, u32 heads, u32 d, u32 padded, u32 splits) {
  if (channel >= heads * d) return 0.f;
  const u32 row = blockIdx.y, seen = positions[row] / BLOCK + 1, size = padded + TAIL, element = channel % d;
  const float* from = partial + ((u64)row * heads + channel / d) * splits * size;
  float largest = from[padded];
#pragma unroll 1
  for (u32 s = 1; s < seen; ++s) largest = fmaxf(largest, from[s * size + padded]);
  float sum = 0.f, weights = 0.f;
#pragma unroll 1
  for (u32 s = 0; s < seen; ++s) {
    const float* split = from + s * size;
    const float factor = __expf(split[padded] - largest);
    sum = __fmaf_rn(factor, split[element], sum);
    weights = __fmaf_rn(factor, split[padded + 1], weights);
  }
  return __fdiv_rn(sum, weights);
}

extern "C" __global__ void __launch_bounds__(32)
attention_join_quantize(const float* __restrict__ partial, const u32* __restrict__ positions, i8* q, float* scales, int* biases, u32 heads, u32 d,
                        u32 padded, u32 splits, u32 k, u32 stride) {
  const float v = join(partial, positions, blockIdx.x * GROUP + threadIdx.x, heads, d, padded, splits);
  __syncwarp();
  Quantized{q, scales, biases, k, stride}.put(v, blockIdx.y, blockIdx.x);
}

extern "C" __global__ void __launch_bounds__(32)
attention_join(const float* __restrict__ partial, const u32* __restrict__ positions, float* out, u32 heads, u32 d, u32 padded, u32 splits, u32 k) {
  const u32 channel = blockIdx.x * GROUP + threadIdx.x;
  out[(u64)blockIdx.y * k + channel] = join(partial, positions, channel, heads, d, padded, splits);
}

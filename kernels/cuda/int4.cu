// y[m,n] = dequant(w)[n,k] · x[m,k], INT4 weights × INT8 activations.
//
// Shapes: `wq` blocks (rows/16, k/64), rows of blocks first: 512 bytes, a uint4 a lane (g = lane / 4, t = lane % 4).
//   Word 2·group + half of a lane holds in byte e the nibbles of rows g (low) and g + 8 (high) at k = 32·group + 8·t + 4·half + e: a register of
//   `a` of mma.m16n8k32 and its neighbour, with k in an order that spares x a permutation.
//   `ws` f16, by block [group 0..2][row 0..16]. k and rows are multiples of 64, what is beyond n has nibbles 8 and scales 0.
//   `xq` i8 [m][k]; `xs` f32 and `xb` = -8·Σ xq i32, both [k/32][stride], token fastest; those of tokens from m on are not read.
//   `y` f32 [m][n], overwritten, a row each `y_stride`. `bias` f32 [n] or null is added, then `residual` like `y` or null (may be `y`).
// int4_one: m = 1, by dp4a: no lane computes what is thrown away. Grid: rows/16 blocks of 4 warps.
// int4_few: m ≤ 8, by mma, of which one is one group. Grid: rows/16 blocks of 4 warps.
// int4_many: any m, by mma; 64 rows × 32 tokens a block of 4 warps, tokens by way of shared memory. Grid: (rows/64, ⌈m/32⌉).
// swiglu_one, swiglu_few: silu(gate) · up of m tokens, quantised, where gate is rows [0, width) and up rows [width, 2·width) of `w`; width a multiple
//   of 64. Out: xq, xs, xb of k = width as in activations.cu. Grid: width/32 blocks of 16 warps.
// embed_int4: rows `ids` of w as f32 [m][k]. Grid: m blocks of 128 threads.
// Why: a group is one integer product, exact. Its f32 sum goes over the groups of a quarter of k by parity, then even + odd, then over the quarters: an
//   order in which neither the kernel nor m takes part, so a token has the same bits in any batch and in all kernels.
// Reference: reference::gemm_int4 (its integer sums equal; f32 instead of f64 across groups).
#include "device.cuh"

constexpr u32 PARTS = 4;
constexpr u32 BLOCK_ROWS = 16;
constexpr u32 BLOCK_K = 64;
constexpr u32 LOW = 0x0f0f0f0fu;

struct Weights {
  const uint4* q;
  const half* scales;
  // Of 64 k each.
  u32 blocks;

  // First block of 64 k of a quarter of k.
  __device__ __forceinline__ u32 part(u32 p) const { return blocks * p / PARTS; }
};

struct Inputs {
  const i8* q;
  const float* scales;
  const int* biases;
  u32 stride;
};

struct Output {
  const float* bias;
  const float* residual;
  float* y;
  u32 n, stride;
  __device__ __forceinline__ void put(float sum, u32 token, u32 row) const {
    if (row >= n) return;
    const u64 at = (u64)token * stride + row;
    if (bias) sum += bias[row];
    if (residual) sum += residual[at];
    y[at] = sum;
  }
};

// Sums of four lanes t of four values each; lane t keeps that of value t.
__device__ __forceinline__ int reduce_scatter(const int (&v)[4], u32 t) {
  const bool high = t & 2, odd = t & 1;
  const int keep0 = high ? v[2] : v[0], keep1 = high ? v[3] : v[1];
  const int send0 = high ? v[0] : v[2], send1 = high ? v[1] : v[3];
  const int sum0 = keep0 + __shfl_xor_sync(ALL_LANES, send0, 2), sum1 = keep1 + __shfl_xor_sync(ALL_LANES, send1, 2);
  return (odd ? sum1 : sum0) + __shfl_xor_sync(ALL_LANES, odd ? sum0 : sum1, 1);
}

// A warp's sums of one token over a quarter of k: [row 0..16][parity of the group].
__device__ __forceinline__ void sum_one(const Weights& w, const Inputs& x, u32 rows, u32 part, float* sums) {
  const u32 lane = threadIdx.x & 31, g = lane >> 2, t = lane & 3;
  // Of each block, lane t sums up group t / 2 of row g + 8·(t % 2).
  const u32 group = t >> 1, row = g + 8 * (t & 1);
  const u64 first = (u64)rows * w.blocks;
  const int2* xq = reinterpret_cast<const int2*>(x.q);
  const u32 end = w.part(part + 1);
  float sum = 0.f;
  for (u32 b = w.part(part); b < end; ++b) {
    const uint4 q = ld_stream(w.q + (first + b) * 32 + lane);
    const int2 x0 = xq[b * 8 + t], x1 = xq[b * 8 + 4 + t];
    const u32 at = (2 * b + group) * x.stride;
    const float scale = __half2float(w.scales[(first + b) * 32 + 16 * group + row]) * x.scales[at];
    const int dots[4] = {
        __dp4a((int)(q.y & LOW), x0.y, __dp4a((int)(q.x & LOW), x0.x, 0)),
        __dp4a((int)(q.y >> 4 & LOW), x0.y, __dp4a((int)(q.x >> 4 & LOW), x0.x, 0)),
        __dp4a((int)(q.w & LOW), x1.y, __dp4a((int)(q.z & LOW), x1.x, 0)),
        __dp4a((int)(q.w >> 4 & LOW), x1.y, __dp4a((int)(q.z >> 4 & LOW), x1.x, 0)),
    };
    const int dot = reduce_scatter(dots, t) + x.biases[at];
    sum = __fmaf_rn(scale, (float)dot, sum);
  }
  sums[2 * row + group] = sum;
}

// Total of a row, of the sums of the four quarters.
__device__ __forceinline__ float total_one(const float* sums, u32 row) {
  constexpr u32 PART = 2 * BLOCK_ROWS;
  float total = sums[2 * row] + sums[2 * row + 1];
#pragma unroll
  for (u32 p = 1; p < PARTS; ++p) total += sums[p * PART + 2 * row] + sums[p * PART + 2 * row + 1];
  return total;
}

// One block of 64 k of 16 rows times 8 tokens, added to `sum` by parity of the group: rows g, g, g + 8, g + 8 and tokens 2t, 2t + 1 of the 8.
// `x` gives the operand b, the biases and the scales of a group.
template <class Tile>
__device__ __forceinline__ void multiply(const uint4& q4, const half* scales, const Tile& tile, float (&sum)[2][4]) {
  const u32 q[4] = {q4.x, q4.y, q4.z, q4.w};
#pragma unroll
  for (u32 group = 0; group < 2; ++group) {
    const u32 lo = q[2 * group], hi = q[2 * group + 1];
    const u32 a[4] = {lo & LOW, lo >> 4 & LOW, hi & LOW, hi >> 4 & LOW};
    const int2 xg = tile.operand(group), bias = tile.bias(group);
    const u32 b[2] = {(u32)xg.x, (u32)xg.y};
    const float2 xs = tile.scale(group);
    int d[4] = {bias.x, bias.y, bias.x, bias.y};
    mma_m16n8k32(d, a, b);
    const float s0 = __half2float(scales[16 * group]), s1 = __half2float(scales[16 * group + 8]);
    sum[group][0] = __fmaf_rn(s0 * xs.x, (float)d[0], sum[group][0]);
    sum[group][1] = __fmaf_rn(s0 * xs.y, (float)d[1], sum[group][1]);
    sum[group][2] = __fmaf_rn(s1 * xs.x, (float)d[2], sum[group][2]);
    sum[group][3] = __fmaf_rn(s1 * xs.y, (float)d[3], sum[group][3]);
  }
}

// Up to 8 tokens in global memory. Tokens from m on are token 0, whose results are not stored.
struct FewTokens {
  const int2* q;
  const int* biases;
  const float* scales;
  u32 stride, token0, token1, block;

  __device__ __forceinline__ FewTokens(const Inputs& x, u32 k, u32 m) : biases(x.biases), scales(x.scales), stride(x.stride), block(0) {
    const u32 lane = threadIdx.x & 31, g = lane >> 2, t = lane & 3;
    q = reinterpret_cast<const int2*>(x.q + (u64)(g < m ? g : 0) * k) + t;
    token0 = 2 * t < m ? 2 * t : 0;
    token1 = 2 * t + 1 < m ? 2 * t + 1 : 0;
  }
  __device__ __forceinline__ int2 operand(u32 group) const { return q[block * 8 + 4 * group]; }
  __device__ __forceinline__ int2 bias(u32 group) const {
    const int* of = biases + (2 * block + group) * stride;
    return make_int2(of[token0], of[token1]);
  }
  __device__ __forceinline__ float2 scale(u32 group) const {
    const float* of = scales + (2 * block + group) * stride;
    return make_float2(of[token0], of[token1]);
  }
};

// Where a warp's sums of 8 tokens lie: a row of 32 lanes for each of the four values of a lane. One word more, so that rows of 8 lie on other banks.
constexpr u32 FEW_VALUE = 33;
constexpr u32 FEW_PART = 4 * FEW_VALUE;

// A warp's sums of up to 8 tokens over a quarter of k.
__device__ __forceinline__ void sum_few(const Weights& w, const Inputs& x, u32 rows, u32 part, u32 m, float* sums) {
  const u32 lane = threadIdx.x & 31;
  const u64 first = (u64)rows * w.blocks;
  FewTokens tile(x, w.blocks * BLOCK_K, m);
  float sum[2][4] = {};
  const u32 end = w.part(part + 1);
  for (u32 b = w.part(part); b < end; ++b) {
    tile.block = b;
    multiply(ld_stream(w.q + (first + b) * 32 + lane), w.scales + (first + b) * 32 + (lane >> 2), tile, sum);
  }
#pragma unroll
  for (u32 c = 0; c < 4; ++c) sums[c * FEW_VALUE + lane] = sum[0][c] + sum[1][c];
}

// Total of value `c` of lane `lane`, of the sums of the four quarters.
__device__ __forceinline__ float total_few(const float* sums, u32 c, u32 lane) {
  float total = sums[c * FEW_VALUE + lane];
#pragma unroll
  for (u32 p = 1; p < PARTS; ++p) total += sums[p * FEW_PART + c * FEW_VALUE + lane];
  return total;
}

extern "C" __global__ void __launch_bounds__(32 * PARTS)
int4_one(const uint4* __restrict__ wq, const half* __restrict__ ws, const i8* __restrict__ xq, const float* __restrict__ xs,
         const int* __restrict__ xb, const float* bias, const float* residual, float* y, u32 n, u32 k, u32 stride, u32 y_stride) {
  __shared__ float sums[PARTS * 2 * BLOCK_ROWS];
  const u32 part = threadIdx.x >> 5;
  sum_one(Weights{wq, ws, k / BLOCK_K}, Inputs{xq, xs, xb, stride}, blockIdx.x, part, sums + part * 2 * BLOCK_ROWS);
  __syncthreads();
  const u32 row = threadIdx.x;
  if (row < BLOCK_ROWS) Output{bias, residual, y, n, y_stride}.put(total_one(sums, row), 0, blockIdx.x * BLOCK_ROWS + row);
}

extern "C" __global__ void __launch_bounds__(32 * PARTS)
int4_few(const uint4* __restrict__ wq, const half* __restrict__ ws, const i8* __restrict__ xq, const float* __restrict__ xs,
         const int* __restrict__ xb, const float* bias, const float* residual, float* y, u32 n, u32 k, u32 stride, u32 y_stride, u32 m) {
  __shared__ float sums[PARTS * FEW_PART];
  const u32 part = threadIdx.x >> 5, lane = threadIdx.x & 31;
  sum_few(Weights{wq, ws, k / BLOCK_K}, Inputs{xq, xs, xb, stride}, blockIdx.x, part, m, sums + part * FEW_PART);
  __syncthreads();
  // A warp a value.
  const u32 c = part, token = 2 * (lane & 3) + (c & 1);
  const float total = total_few(sums, c, lane);
  if (token < m) Output{bias, residual, y, n, y_stride}.put(total, token, blockIdx.x * BLOCK_ROWS + (lane >> 2) + 8 * (c >> 1));
}

// Tokens of a block of int4_many, and 8 of them a tile of the product.
constexpr u32 MANY = 32;
constexpr u32 TILES = MANY / 8;

// A block of 64 k of 32 tokens in shared memory.
struct Stage {
  __align__(16) i8 q[2][MANY][GROUP];
  float scales[2][MANY];
  int biases[2][MANY];

  // A thread of 128 asks for 16 bytes of levels and a scale or a bias; of tokens that are not there zeros arrive.
  __device__ __forceinline__ void fetch(const Inputs& x, u32 k, u32 m, u32 first, u32 block) {
    const u32 i = threadIdx.x;
    const u32 group = i / 64, token = i / 2 % MANY, half = i % 2;
    const bool there = first + token < m;
    cp_async_16(&q[group][token][16 * half], x.q + (u64)(there ? first + token : 0) * k + block * BLOCK_K + group * GROUP + 16 * half, there);
    const u32 number_group = i / MANY % 2, number_token = i % MANY;
    const bool number_there = first + number_token < m;
    const u64 at = (u64)(2 * block + number_group) * x.stride + (number_there ? first + number_token : 0);
    if (i < 2 * MANY) {
      cp_async_4(&scales[number_group][number_token], x.scales + at, number_there);
    } else {
      cp_async_4(&biases[number_group][number_token], x.biases + at, number_there);
    }
  }
};

// 8 tokens of a stage.
struct StageTile {
  const Stage& stage;
  u32 first;
  __device__ __forceinline__ int2 operand(u32 group) const {
    const u32 lane = threadIdx.x & 31;
    return *reinterpret_cast<const int2*>(&stage.q[group][first + (lane >> 2)][8 * (lane & 3)]);
  }
  __device__ __forceinline__ int2 bias(u32 group) const {
    return *reinterpret_cast<const int2*>(&stage.biases[group][first + 2 * (threadIdx.x & 3)]);
  }
  __device__ __forceinline__ float2 scale(u32 group) const {
    return *reinterpret_cast<const float2*>(&stage.scales[group][first + 2 * (threadIdx.x & 3)]);
  }
};

extern "C" __global__ void __launch_bounds__(128)
int4_many(const uint4* __restrict__ wq, const half* __restrict__ ws, const i8* __restrict__ xq, const float* __restrict__ xs,
          const int* __restrict__ xb, const float* bias, const float* residual, float* y, u32 n, u32 k, u32 stride, u32 y_stride, u32 m) {
  __shared__ Stage stages[2];
  const Weights w{wq, ws, k / BLOCK_K};
  const Inputs x{xq, xs, xb, stride};
  const u32 lane = threadIdx.x & 31, g = lane >> 2, t = lane & 3;
  const u32 rows = blockIdx.x * 4 + (threadIdx.x >> 5), first = blockIdx.y * MANY;
  const uint4* wq_row = wq + (u64)rows * w.blocks * 32 + lane;
  const half* ws_row = ws + (u64)rows * w.blocks * 32 + g;
  float total[TILES][4];
  stages[0].fetch(x, k, m, first, 0);
  uint4 next = ld_stream(wq_row);
#pragma unroll 1
  for (u32 part = 0; part < PARTS; ++part) {
    float sum[TILES][2][4] = {};
    const u32 end = w.part(part + 1);
#pragma unroll 1
    for (u32 b = w.part(part); b < end; ++b) {
      const uint4 q = next;
      // Block b is there for all, and nobody reads block b - 1 any more.
      cp_async_wait_all();
      __syncthreads();
      if (b + 1 < w.blocks) {
        stages[(b + 1) & 1].fetch(x, k, m, first, b + 1);
        next = ld_stream(wq_row + (b + 1) * 32);
      }
#pragma unroll
      for (u32 tile = 0; tile < TILES; ++tile) multiply(q, ws_row + b * 32, StageTile{stages[b & 1], 8 * tile}, sum[tile]);
    }
#pragma unroll
    for (u32 tile = 0; tile < TILES; ++tile) {
#pragma unroll
      for (u32 c = 0; c < 4; ++c) {
        const float of_part = sum[tile][0][c] + sum[tile][1][c];
        total[tile][c] = part == 0 ? of_part : total[tile][c] + of_part;
      }
    }
  }
  const Output out{bias, residual, y, n, y_stride};
#pragma unroll
  for (u32 tile = 0; tile < TILES; ++tile) {
#pragma unroll
    for (u32 c = 0; c < 4; ++c) {
      const u32 token = first + 8 * tile + 2 * t + (c & 1);
      if (token < m) out.put(total[tile][c], token, rows * BLOCK_ROWS + g + 8 * (c >> 1));
    }
  }
}

// The 16 rows that warp `warp` of a block of swiglu_* computes: of the gate twice, of the up twice.
__device__ __forceinline__ u32 swiglu_rows(u32 warp, u32 width) {
  const u32 which = warp / PARTS;
  return 2 * blockIdx.x + (which & 1) + (which >> 1) * (width / BLOCK_ROWS);
}

// silu(gate + bias) · (up + bias) of output `i`.
__device__ __forceinline__ float gated(float gate, float up, const float* bias, u32 i, u32 width) {
  if (bias) {
    gate += bias[i];
    up += bias[width + i];
  }
  return silu_mul(gate, up);
}

extern "C" __global__ void __launch_bounds__(512)
swiglu_one(const uint4* __restrict__ wq, const half* __restrict__ ws, const i8* __restrict__ xq, const float* __restrict__ xs,
           const int* __restrict__ xb, const float* bias, i8* q, float* scales, int* biases, u32 width, u32 k, u32 stride, u32 out_stride) {
  // Of 16 rows; one word more, so that the next 16 lie on other banks.
  constexpr u32 ROWS = PARTS * 2 * BLOCK_ROWS + 1;
  __shared__ float sums[4 * ROWS];
  const u32 warp = threadIdx.x >> 5, lane = threadIdx.x & 31;
  sum_one(Weights{wq, ws, k / BLOCK_K}, Inputs{xq, xs, xb, stride}, swiglu_rows(warp, width), warp % PARTS,
          sums + warp / PARTS * ROWS + warp % PARTS * 2 * BLOCK_ROWS);
  __syncthreads();
  if (warp > 0) return;
  const float gate = total_one(sums + lane / 16 * ROWS, lane % 16), up = total_one(sums + (2 + lane / 16) * ROWS, lane % 16);
  Quantized{q, scales, biases, width, out_stride}.put(gated(gate, up, bias, blockIdx.x * GROUP + lane, width), 0, blockIdx.x);
}

extern "C" __global__ void __launch_bounds__(512)
swiglu_few(const uint4* __restrict__ wq, const half* __restrict__ ws, const i8* __restrict__ xq, const float* __restrict__ xs,
           const int* __restrict__ xb, const float* bias, i8* q, float* scales, int* biases, u32 width, u32 k, u32 stride, u32 out_stride, u32 m) {
  constexpr u32 ROWS = PARTS * FEW_PART + 1;
  __shared__ float sums[4 * ROWS];
  const u32 warp = threadIdx.x >> 5, lane = threadIdx.x & 31;
  sum_few(Weights{wq, ws, k / BLOCK_K}, Inputs{xq, xs, xb, stride}, swiglu_rows(warp, width), warp % PARTS, m,
          sums + warp / PARTS * ROWS + warp % PARTS * FEW_PART);
  __syncthreads();
  // A warp a token, a lane an output: the value and the lane of the product that hold it.
  const u32 token = warp;
  if (token >= m) return;
  const u32 row = lane % 16, c = 2 * (row / 8) + token % 2, from = 4 * (row % 8) + token / 2;
  const float gate = total_few(sums + lane / 16 * ROWS, c, from), up = total_few(sums + (2 + lane / 16) * ROWS, c, from);
  Quantized{q, scales, biases, width, out_stride}.put(gated(gate, up, bias, blockIdx.x * GROUP + lane, width), token, blockIdx.x);
}

extern "C" __global__ void __launch_bounds__(128)
embed_int4(const u32* __restrict__ wq, const half* __restrict__ ws, const u32* __restrict__ ids, float* x, u32 k) {
  const u32 row = ids[blockIdx.x], in_block = row % BLOCK_ROWS;
#pragma unroll 1
  for (u32 i = threadIdx.x; i < k / 4; i += 128) {
    const u32 group = i / 8 % 2, t = i / 2 % 4, half_of = i % 2;
    const u64 block = (u64)(row / BLOCK_ROWS) * (k / BLOCK_K) + i / 16;
    const u32 word = wq[block * 128 + 4 * (4 * (in_block % 8) + t) + 2 * group + half_of] >> (in_block / 8 * 4) & LOW;
    const float scale = __half2float(ws[block * 32 + 16 * group + in_block]);
    const float4 values = make_float4(((int)(word & 15) - 8) * scale, ((int)(word >> 8 & 15) - 8) * scale, ((int)(word >> 16 & 15) - 8) * scale,
                                      ((int)(word >> 24) - 8) * scale);
    reinterpret_cast<float4*>(x + (u64)blockIdx.x * k)[i] = values;
  }
}

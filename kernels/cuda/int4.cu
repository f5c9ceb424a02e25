// y[m,n] = dequant(w)[n,k] · x[m,k], INT4 weights × INT8 activations, for 1 to 8 tokens (decoding, and verification of drafts).
//
// Shapes: n a multiple of 16, k of 64. `wq` blocks (n/16, k/64), rows of blocks first: 512 bytes, a uint4 a lane (g = lane / 4, t = lane % 4).
//   Word 2·group + half of a lane holds in byte e the nibbles of rows g (low) and g + 8 (high) at k = 32·group + 8·t + 4·half + e: a register of
//   `a` of mma.m16n8k32 and its neighbour, with k in an order that spares x a permutation.
//   `ws` f16, by block [group 0..2][row 0..16]. `xq` i8 [m][k]; `xs` f32 and `xb` = -8·Σ xq i32, both [k/32][1] for
//   int4_one and [k/32][8] for int4_few, token fastest; those of tokens from m on are not read.
//   `y` f32 [m][n], overwritten. `bias` f32 [n] or null is added, then `residual` f32 [m][n] or null (may be `y`).
// Grid: n/16 blocks of 4 warps; a warp takes every fourth block of 64 k.
// Why: a group is one integer product, exact. Its f32 sum goes by parity of the group within a warp, then even + odd, then over the warps: an order
//   in which neither the kernel nor m takes part, so a token has the same bits in any batch and in both kernels.
// Reference: reference::gemm_int4 (its integer sums equal; f32 instead of f64 across groups).
#include "device.cuh"

constexpr u32 WARPS = 4;
constexpr u32 BLOCK_ROWS = 16;
constexpr u32 BLOCK_K = 64;
constexpr u32 MOST_TOKENS = 8;

struct Output {
  const float* bias;
  const float* residual;
  float* y;
  __device__ __forceinline__ void put(float sum, u32 token, u32 row, u32 n) const {
    const u64 at = (u64)token * n + row;
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

// One token, by dp4a: no lane computes what is thrown away.
extern "C" __global__ void __launch_bounds__(32 * WARPS)
int4_one(const uint4* __restrict__ wq, const half* __restrict__ ws, const int2* __restrict__ xq, const float* __restrict__ xs,
         const int* __restrict__ xb, const float* bias, const float* residual, float* y, u32 n, u32 k) {
  __shared__ float partial[WARPS][BLOCK_ROWS][2];
  const u32 lane = threadIdx.x & 31, warp = threadIdx.x >> 5, g = lane >> 2, t = lane & 3;
  const u32 blocks = k / BLOCK_K;
  // Of each block, lane t sums up group t / 2 of row g + 8·(t % 2).
  const u32 group = t >> 1, row = g + 8 * (t & 1);
  const u64 first = (u64)blockIdx.x * blocks;
  float sum = 0.f;
  for (u32 b = warp; b < blocks; b += WARPS) {
    const uint4 q = ld_stream(wq + (first + b) * 32 + lane);
    const int2 x0 = xq[b * 8 + t], x1 = xq[b * 8 + 4 + t];
    const float scale = __half2float(ws[(first + b) * 32 + 16 * group + row]) * xs[2 * b + group];
    const int dots[4] = {
        __dp4a((int)(q.y & 0x0f0f0f0fu), x0.y, __dp4a((int)(q.x & 0x0f0f0f0fu), x0.x, 0)),
        __dp4a((int)(q.y >> 4 & 0x0f0f0f0fu), x0.y, __dp4a((int)(q.x >> 4 & 0x0f0f0f0fu), x0.x, 0)),
        __dp4a((int)(q.w & 0x0f0f0f0fu), x1.y, __dp4a((int)(q.z & 0x0f0f0f0fu), x1.x, 0)),
        __dp4a((int)(q.w >> 4 & 0x0f0f0f0fu), x1.y, __dp4a((int)(q.z >> 4 & 0x0f0f0f0fu), x1.x, 0)),
    };
    const int dot = reduce_scatter(dots, t) + xb[2 * b + group];
    sum = __fmaf_rn(scale, (float)dot, sum);
  }
  partial[warp][row][group] = sum;
  __syncthreads();
  if (threadIdx.x < BLOCK_ROWS) {
    const u32 r = threadIdx.x;
    float total = partial[0][r][0] + partial[0][r][1];
#pragma unroll
    for (u32 w = 1; w < WARPS; ++w) total += partial[w][r][0] + partial[w][r][1];
    Output{bias, residual, y}.put(total, 0, blockIdx.x * BLOCK_ROWS + r, n);
  }
}

// Up to 8 tokens, by mma: one product is one group of 32. Tokens from m on read token 0 and are not stored.
extern "C" __global__ void __launch_bounds__(32 * WARPS)
int4_few(const uint4* __restrict__ wq, const half* __restrict__ ws, const i8* __restrict__ xq, const float* __restrict__ xs,
         const int* __restrict__ xb, const float* bias, const float* residual, float* y, u32 n, u32 k, u32 m) {
  __shared__ float partial[WARPS][4][32];
  const u32 lane = threadIdx.x & 31, warp = threadIdx.x >> 5, g = lane >> 2, t = lane & 3;
  const u32 blocks = k / BLOCK_K;
  const u64 first = (u64)blockIdx.x * blocks;
  const int2* x = reinterpret_cast<const int2*>(xq + (u64)(g < m ? g : 0) * k) + t;
  const u32 token0 = 2 * t < m ? 2 * t : 0, token1 = 2 * t + 1 < m ? 2 * t + 1 : 0;
  // By parity of the group; of rows g, g, g + 8, g + 8 and tokens 2t, 2t + 1.
  float sum[2][4] = {};
  for (u32 b = warp; b < blocks; b += WARPS) {
    const uint4 q4 = ld_stream(wq + (first + b) * 32 + lane);
    const u32 q[4] = {q4.x, q4.y, q4.z, q4.w};
    const half* s = ws + (first + b) * 32 + g;
#pragma unroll
    for (u32 group = 0; group < 2; ++group) {
      const u32 lo = q[2 * group], hi = q[2 * group + 1];
      const u32 a[4] = {lo & 0x0f0f0f0fu, lo >> 4 & 0x0f0f0f0fu, hi & 0x0f0f0f0fu, hi >> 4 & 0x0f0f0f0fu};
      const int2 xg = x[b * 8 + 4 * group];
      const u32 bx[2] = {(u32)xg.x, (u32)xg.y};
      const u32 at = (2 * b + group) * MOST_TOKENS;
      const int bias0 = xb[at + token0], bias1 = xb[at + token1];
      const float xs0 = xs[at + token0], xs1 = xs[at + token1];
      int d[4] = {bias0, bias1, bias0, bias1};
      mma_m16n8k32(d, a, bx);
      const float s0 = __half2float(s[16 * group]), s1 = __half2float(s[16 * group + 8]);
      sum[group][0] = __fmaf_rn(s0 * xs0, (float)d[0], sum[group][0]);
      sum[group][1] = __fmaf_rn(s0 * xs1, (float)d[1], sum[group][1]);
      sum[group][2] = __fmaf_rn(s1 * xs0, (float)d[2], sum[group][2]);
      sum[group][3] = __fmaf_rn(s1 * xs1, (float)d[3], sum[group][3]);
    }
  }
#pragma unroll
  for (int c = 0; c < 4; ++c) partial[warp][c][lane] = sum[0][c] + sum[1][c];
  __syncthreads();
  const u32 c = warp, row = blockIdx.x * BLOCK_ROWS + g + 8 * (c >> 1), token = 2 * t + (c & 1);
  float total = partial[0][c][lane];
#pragma unroll
  for (u32 w = 1; w < WARPS; ++w) total += partial[w][c][lane];
  if (token < m) Output{bias, residual, y}.put(total, token, row, n);
}

// y[m,n] = w[n,k] · x[m,k] in f32: the reference beside the INT4 kernels.
//
// Shapes: `w` f32 [n][k], `x` f32 [m][k], k a multiple of 64; `y` f32 [m][n], overwritten, a row each `y_stride`. `bias` f32 [n] or null is added, then
//   `residual` like `y` or null (may be `y`).
// matmul_f32: Grid: (⌈n/8⌉, ⌈m/8⌉) blocks of 8 warps; a warp takes a row of w and 8 tokens.
// embed_f32: rows `ids` of w. Grid: m blocks of 128 threads.
// Why: a lane adds up its elements in their order, lanes are added by halves: no result depends on the batch. Made to be right, not fast.
// Reference: reference::matmul_f32 (NMSE 1e-12).
#include "device.cuh"

constexpr u32 TOKENS = 8;
constexpr u32 ROWS = 8;

extern "C" __global__ void __launch_bounds__(32 * ROWS)
matmul_f32(const float2* __restrict__ w, const float2* __restrict__ x, const float* bias, const float* residual, float* y, u32 n, u32 k, u32 m,
           u32 y_stride) {
  const u32 lane = threadIdx.x & 31, row = blockIdx.x * ROWS + (threadIdx.x >> 5), first = blockIdx.y * TOKENS;
  if (row >= n) return;
  float sum[TOKENS] = {};
  const float2* of_row = w + (u64)row * (k / 2);
#pragma unroll 1
  for (u32 i = lane; i < k / 2; i += 32) {
    const float2 a = of_row[i];
#pragma unroll
    for (u32 token = 0; token < TOKENS; ++token) {
      const float2 b = x[(u64)min(first + token, m - 1) * (k / 2) + i];
      sum[token] = __fmaf_rn(a.y, b.y, __fmaf_rn(a.x, b.x, sum[token]));
    }
  }
  float mine = 0.f;
#pragma unroll
  for (u32 token = 0; token < TOKENS; ++token) {
    const float total = sum_of_warp(sum[token]);
    if (lane == token) mine = total;
  }
  const u32 token = first + lane;
  if (lane < TOKENS && token < m) {
    const u64 at = (u64)token * y_stride + row;
    if (bias) mine += bias[row];
    if (residual) mine += residual[at];
    y[at] = mine;
  }
}

extern "C" __global__ void __launch_bounds__(128)
embed_f32(const float4* __restrict__ w, const u32* __restrict__ ids, float4* x, u32 k) {
  const float4* row = w + (u64)ids[blockIdx.x] * (k / 4);
#pragma unroll 1
  for (u32 i = threadIdx.x; i < k / 4; i += 128) x[(u64)blockIdx.x * (k / 4) + i] = row[i];
}

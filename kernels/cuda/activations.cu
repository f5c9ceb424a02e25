// What goes into a product, computed on the way: INT8 for INT4 weights, f32 for f32 weights.
//
// quantize:           x f32 [m][k]                                         → xq, xs, xb
// rms_norm_quantize:  x[i] · weight[i] / sqrt(Σ x² / n + eps)              → xq, xs, xb
// silu_mul_quantize:  silu(gate) · up; `gate_up` f32 [m][2k], gates first  → xq, xs, xb
//   xq i8 [m][k]; xs f32 and xb = -8·Σ xq i32, both [k/32][stride], token fastest. k a multiple of 32, stride ≥ m. A row has n ≤ k elements, then
//   zeros, in `x` and in `weight`.
// rms_norm, silu_mul: the same into f32 [m][k].
// Grid: m blocks of 256 threads, a token each; a warp takes a group of 32, an element a lane.
// Why: a warp has few groups, so that loops are not unrolled; one block a token keeps the order of the sum of squares free of m; the row is read twice,
//   the second time from L1 or L2.
// Reference: reference::quantize_activations (equal to the bit), rms_norm and silu_mul (1e-5 before rounding).
#include "device.cuh"

constexpr u32 THREADS = 256;
constexpr u32 WARPS = THREADS / 32;

// Sum over the block, the same for all threads, in an order of its own.
__device__ __forceinline__ float block_sum(float v) {
  __shared__ float partial[WARPS];
  v = sum_of_warp(v);
  if ((threadIdx.x & 31) == 0) partial[threadIdx.x >> 5] = v;
  __syncthreads();
  float sum = partial[0];
#pragma unroll
  for (u32 w = 1; w < WARPS; ++w) sum += partial[w];
  return sum;
}

// 1 / sqrt(Σ row² / n + eps)
__device__ __forceinline__ float inverse_norm(const float* row, u32 k, u32 n, float eps) {
  float squares = 0.f;
#pragma unroll 1
  for (u32 i = threadIdx.x; i < k; i += THREADS) squares = __fmaf_rn(row[i], row[i], squares);
  return __fdiv_rn(1.f, __fsqrt_rn(__fdiv_rn(block_sum(squares), (float)n) + eps));
}

extern "C" __global__ void __launch_bounds__(THREADS)
quantize(const float* __restrict__ x, i8* q, float* scales, int* biases, u32 k, u32 stride) {
  const Quantized out{q, scales, biases, k, stride};
  const u32 token = blockIdx.x, lane = threadIdx.x & 31;
  const float* row = x + (u64)token * k;
#pragma unroll 1
  for (u32 group = threadIdx.x >> 5; group < k / GROUP; group += WARPS) out.put(row[group * GROUP + lane], token, group);
}

extern "C" __global__ void __launch_bounds__(THREADS)
rms_norm_quantize(const float* __restrict__ x, const float* __restrict__ weight, i8* q, float* scales, int* biases, u32 k, u32 stride, u32 n,
                  float eps) {
  const Quantized out{q, scales, biases, k, stride};
  const u32 token = blockIdx.x, lane = threadIdx.x & 31;
  const float* row = x + (u64)token * k;
  const float inverse = inverse_norm(row, k, n, eps);
#pragma unroll 1
  for (u32 group = threadIdx.x >> 5; group < k / GROUP; group += WARPS) {
    const u32 i = group * GROUP + lane;
    out.put(row[i] * inverse * weight[i], token, group);
  }
}

extern "C" __global__ void __launch_bounds__(THREADS)
silu_mul_quantize(const float* __restrict__ gate_up, i8* q, float* scales, int* biases, u32 k, u32 stride) {
  const Quantized out{q, scales, biases, k, stride};
  const u32 token = blockIdx.x, lane = threadIdx.x & 31;
  const float* gates = gate_up + (u64)token * 2 * k;
  const float* ups = gates + k;
#pragma unroll 1
  for (u32 group = threadIdx.x >> 5; group < k / GROUP; group += WARPS) {
    const u32 i = group * GROUP + lane;
    out.put(silu_mul(gates[i], ups[i]), token, group);
  }
}

extern "C" __global__ void __launch_bounds__(THREADS)
rms_norm(const float* __restrict__ x, const float* __restrict__ weight, float* y, u32 k, u32 n, float eps) {
  const u64 token = (u64)blockIdx.x * k;
  const float inverse = inverse_norm(x + token, k, n, eps);
#pragma unroll 1
  for (u32 i = threadIdx.x; i < k; i += THREADS) y[token + i] = x[token + i] * inverse * weight[i];
}

extern "C" __global__ void __launch_bounds__(THREADS)
silu_mul(const float* __restrict__ gate_up, float* y, u32 k) {
  const float* gates = gate_up + (u64)blockIdx.x * 2 * k;
  const float* ups = gates + k;
#pragma unroll 1
  for (u32 i = threadIdx.x; i < k; i += THREADS) y[(u64)blockIdx.x * k + i] = silu_mul(gates[i], ups[i]);
}

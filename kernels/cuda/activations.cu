// INT8 activations of a product: what is multiplied by INT4 weights, quantised as it is computed.
//
// quantize:           x f32 [m][k]                                    → xq, xs, xb
// rms_norm_quantize:  x[i] · weight[i] / sqrt(mean(x²) + eps)         → xq, xs, xb
// silu_mul_quantize:  silu(gate) · up; `gate_up` f32 [m][2k], gates first → xq, xs, xb
//   xq i8 [m][k]; xs f32 and xb = -8·Σ xq i32, both [k/32][stride], token fastest. k a multiple of 32, stride ≥ m.
// Grid: m blocks of 256 threads, a token each; a warp takes a group of 32, an element a lane.
// Why: a warp has few groups, so that loops are not unrolled; one block a token keeps the order of the sum of squares free of m; the row is read twice, the second time from L1 or L2.
// Reference: reference::quantize_activations (equal to the bit), rms_norm and silu_mul (1e-5 before rounding).
#include "device.cuh"

constexpr u32 THREADS = 256;
constexpr u32 WARPS = THREADS / 32;

// Sum over the block, the same for all threads, in an order of its own.
__device__ __forceinline__ float block_sum(float v) {
  __shared__ float partial[WARPS];
#pragma unroll
  for (int d = 16; d > 0; d >>= 1) v += __shfl_xor_sync(ALL_LANES, v, d);
  if ((threadIdx.x & 31) == 0) partial[threadIdx.x >> 5] = v;
  __syncthreads();
  float sum = partial[0];
#pragma unroll
  for (u32 w = 1; w < WARPS; ++w) sum += partial[w];
  return sum;
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
rms_norm_quantize(const float* __restrict__ x, const float* __restrict__ weight, i8* q, float* scales, int* biases, u32 k, u32 stride,
                  float eps) {
  const Quantized out{q, scales, biases, k, stride};
  const u32 token = blockIdx.x, lane = threadIdx.x & 31;
  const float* row = x + (u64)token * k;
  float squares = 0.f;
#pragma unroll 1
  for (u32 i = threadIdx.x; i < k; i += THREADS) squares = __fmaf_rn(row[i], row[i], squares);
  const float inverse = __fdiv_rn(1.f, __fsqrt_rn(__fdiv_rn(block_sum(squares), (float)k) + eps));
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
    const float gate = gates[i];
    out.put(__fdiv_rn(gate, 1.f + __expf(-gate)) * ups[i], token, group);
  }
}

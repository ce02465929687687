// An index past a thread's own array.
extern "C" __global__ void localOverflow(const int *index, int *out) {
  int table[8];
  for (int i = 0; i < 8; ++i)
    table[i] = i + threadIdx.x;
#ifdef CORRECT
  int at = index[threadIdx.x] & 7;
#else
  int at = index[threadIdx.x];
#endif
  out[threadIdx.x] = table[at]; // BUG
}

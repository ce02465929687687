// One warp routes one token: lane i keeps the scores of experts i, i + 32, ...
// in registers, and `topk` rounds of a warp's argmax pick the winners. A key
// orders as selection does: by score, equal zeros, NaN below all numbers,
// chosen experts below NaN; of equal keys the lower expert wins. Reads each
// logit once, writes 2 * topk words.

// The largest key of the warp and its place; of equal keys the lower place.
__device__ __forceinline__ void warpBest(int &best, int &place) {
#pragma unroll
  for (int distance = 16; distance > 0; distance /= 2) {
    int otherBest = __shfl_xor_sync(0xffffffffu, best, distance);
    int otherPlace = __shfl_xor_sync(0xffffffffu, place, distance);
    if (otherBest > best || (otherBest == best && otherPlace < place)) {
      best = otherBest;
      place = otherPlace;
    }
  }
}

// A number's key: NaN below all others, equal zeros.
__device__ __forceinline__ int keyOf(float x) {
  int bits = __float_as_int(x + 0.0f); // -0 + 0 is 0
  bits ^= (bits >> 31) & 0x7fffffff;
  return x != x ? int(0x80000001u) : bits;
}
__device__ __forceinline__ float fromKey(int key) {
  if (key == int(0x80000001u))
    return __int_as_float(0x7fc00000);
  return __int_as_float(key ^ ((key >> 31) & 0x7fffffff));
}

// Lane g holds group g. A group's best keys are found by as many rounds of an
// argmax over the warp, added in that order.
template <typename Op, int held>
__device__ void maskGroups(int (&key)[held]) {
  constexpr int chosenKey = int(0x80000000u);
  constexpr int size = Op::kExperts / Op::kGroups;
  constexpr int rounds = Op::kGroupSummed < size ? Op::kGroupSummed : size;
  int lane = threadIdx.x % 32, highest = chosenKey, nobody = 0;
  int spare[held];
#pragma unroll
  for (int i = 0; i < held; ++i) {
    spare[i] = key[i];
    highest = max(highest, key[i]);
  }
  warpBest(highest, nobody);
  if (highest == int(0x80000001u)) // all are NaN
    return;
  int groupKey = chosenKey;
  for (int group = 0; group < Op::kGroups; ++group) {
    float sum = 0;
    for (int round = 0; round < rounds; ++round) {
      int best = chosenKey, expert = Op::kExperts;
#pragma unroll
      for (int i = 0; i < held; ++i)
        if ((i * 32 + lane) / size == group && spare[i] > best) {
          best = spare[i];
          expert = i * 32 + lane;
        }
      warpBest(best, expert);
#pragma unroll
      for (int i = 0; i < held; ++i)
        if (i * 32 + lane == expert)
          spare[i] = chosenKey;
      sum += fromKey(best);
    }
    if (lane == group)
      groupKey = keyOf(sum);
  }
  int kept = 0;
  for (int round = 0; round < Op::kTopGroups; ++round) {
    int best = groupKey, group = lane;
    warpBest(best, group);
    if (lane == group) {
      kept = 1;
      groupKey = chosenKey;
    }
  }
#pragma unroll
  for (int i = 0; i < held; ++i) {
    int expert = i * 32 + lane;
    int isKept = __shfl_sync(0xffffffffu, kept, expert / size % 32);
    if (expert < Op::kExperts && !isKept)
      key[i] = keyOf(Op::kMaskZero ? 0.0f : -infinity());
  }
}

template <typename Op>
__device__ void routeToken(const float *logits, const float *bias,
                           unsigned long long *counters, int *pairExpert,
                           float *pairWeight, Index token) {
  constexpr int experts = Op::kExperts, topk = Op::kTopk;
  constexpr int held = (experts + 31) / 32;
  constexpr int chosenKey = int(0x80000000u), nanKey = chosenKey + 1;
  int lane = threadIdx.x % 32;

  float logit[held], score[held];
  float top = -infinity();
#pragma unroll
  for (int i = 0; i < held; ++i) {
    int expert = i * 32 + lane;
    logit[i] = expert < experts ? logits[token * experts + expert] : 0.0f;
  }
  if (Op::kZscore) {
    float first = __shfl_sync(0xffffffffu, logit[0], 0), sum = 0, squares = 0;
    bool differs = false;
#pragma unroll
    for (int i = 0; i < held; ++i)
      if (i * 32 + lane < experts) {
        sum += logit[i];
        differs |= !(logit[i] == first);
      }
    float mean = warpSum(sum) / float(experts);
#pragma unroll
    for (int i = 0; i < held; ++i)
      if (i * 32 + lane < experts)
        squares += (logit[i] - mean) * (logit[i] - mean);
    float deviation = sqrtf(warpSum(squares) / float(experts));
    // Equal numbers become 0, though their mean may be rounded.
    differs = __any_sync(0xffffffffu, differs) && deviation != 0.0f;
#pragma unroll
    for (int i = 0; i < held; ++i)
      logit[i] = differs ? (logit[i] - mean) / deviation : 0.0f;
  }
#pragma unroll
  for (int i = 0; i < held; ++i) {
    logit[i] *= Op::logitScale();
    score[i] = logit[i];
    if (i * 32 + lane < experts)
      top = fmaxf(top, logit[i]); // skips NaN
  }
  if (Op::kScore == 0) {
    float sum = 0;
#pragma unroll
    for (int distance = 16; distance > 0; distance /= 2)
      top = fmaxf(top, __shfl_xor_sync(0xffffffffu, top, distance));
#pragma unroll
    for (int i = 0; i < held; ++i) {
      score[i] = expf(logit[i] - top);
      sum += i * 32 + lane < experts ? score[i] : 0.0f;
    }
    sum = warpSum(sum);
#pragma unroll
    for (int i = 0; i < held; ++i)
      score[i] /= sum;
  } else if (Op::kScore == 1) {
#pragma unroll
    for (int i = 0; i < held; ++i)
      score[i] = sigmoid(logit[i]);
  } else if (Op::kScore == 3) {
#pragma unroll
    for (int i = 0; i < held; ++i)
      score[i] = relu(logit[i]);
  }

  int key[held];
#pragma unroll
  for (int i = 0; i < held; ++i) {
    int expert = i * 32 + lane;
    float x = score[i];
    if (Op::kSelectBias && expert < experts)
      x += bias[expert];
    key[i] = expert < experts ? keyOf(x) : chosenKey;
  }
  if (Op::kGroups > 1)
    maskGroups<Op>(key);

  // Lane `choice` keeps the choice of that number, so topk is at most 32.
  float mine = 0, sum = 0, topChosen = -infinity();
  int myExpert = 0;
  bool allNan = false;
  for (int choice = 0; choice < topk; ++choice) {
    int best = chosenKey, expert = experts;
#pragma unroll
    for (int i = 0; i < held; ++i)
      if (key[i] > best) {
        best = key[i];
        expert = i * 32 + lane;
      }
    warpBest(best, expert);
    allNan |= choice == 0 && best == nanKey;
    float weight = 0;
#pragma unroll
    for (int i = 0; i < held; ++i)
      if (i * 32 + lane == expert) {
        weight = Op::kRenorm == 2 ? logit[i] : score[i];
        key[i] = chosenKey;
      }
    weight = __shfl_sync(0xffffffffu, weight, expert % 32);
    sum += weight;
    topChosen = fmaxf(topChosen, weight);
    if (lane == choice) {
      mine = weight;
      myExpert = expert;
    }
  }

  if (Op::kRenorm == 2) {
    mine = lane < topk ? expf(mine - topChosen) : 0.0f;
    sum = 0;
    for (int choice = 0; choice < topk; ++choice) // in order of choice
      sum += __shfl_sync(0xffffffffu, mine, choice);
    mine /= sum;
  } else if (Op::kRenorm == 1) {
    sum += Op::renormEpsilon();
    mine /= sum < Op::renormMinimum() ? Op::renormMinimum() : sum; // NaN stays
  }
  mine *= Op::scale();
  if (allNan)
    mine = __int_as_float(0x7fc00000);
  if (lane < topk) {
    pairExpert[token * topk + lane] = myExpert;
    pairWeight[token * topk + lane] = mine;
    if (Op::kCounts)
      atomicAdd(counters + myExpert, 1ull);
  }
}

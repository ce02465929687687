#include "runtime/generate/Session.h"

#include "ir/support/Diagnostic.h"
#include "ir/support/Interrupt.h"
#include "runtime/program/Polynomial.h"
#include "runtime/schema/Facts.h"
#include "runtime/schema/plan_generated.h"

#include <cassert>
#include <cstring>

using namespace moec;
using namespace moec::runtime;

static int64_t ceilDiv(int64_t a, int64_t b) { return a / b + (a % b != 0); }

template <typename T> static llvm::ArrayRef<uint8_t> bytesOfArray(T array) {
  return {reinterpret_cast<const uint8_t *>(array.data()),
          array.size() * sizeof(*array.data())};
}

/// Bytes of all KV states at `blocks` blocks; nothing on overflow.
static std::optional<uint64_t> kvBytes(const Plan &plan, unsigned blocksSymbol,
                                       int64_t blocks) {
  std::vector<int64_t> symbols(plan.symbolMaxima().size(), 0);
  symbols[blocksSymbol] = blocks;
  uint64_t total = 0;
  if (plan->states())
    for (const plan::State *state : *plan->states()) {
      if (state->kind() != plan::StateKind::kv)
        continue;
      std::optional<uint64_t> bytes = bytesOf(*state->type(), symbols);
      std::optional<uint64_t> sum =
          bytes ? checkedAdd(total, *bytes) : std::nullopt;
      if (!sum)
        return std::nullopt;
      total = *sum;
    }
  return total;
}

llvm::Expected<std::unique_ptr<Session>>
Session::create(std::shared_ptr<const Model> model, SessionOptions options) {
  const Plan &plan = model->plan();
  std::optional<unsigned> blocksSymbol = plan.findSymbol(facts::kBlocks);
  if (!blocksSymbol)
    return error(plan.at("")) << "lacks the symbol '" << facts::kBlocks << "'";
  if (options.cacheTokens < 0)
    return error(plan.at("")) << "expects a cache of at least 0 tokens, got "
                              << options.cacheTokens;
  int64_t wanted = options.cacheTokens ? options.cacheTokens : model->context();
  int64_t blocks = std::min<int64_t>(ceilDiv(wanted, model->blockSize()),
                                     plan.symbolMaxima()[*blocksSymbol]);
  blocks = std::min<int64_t>(blocks, INT32_MAX);
  if (options.cacheBytes) {
    std::optional<uint64_t> perBlock = kvBytes(plan, *blocksSymbol, 1);
    if (!perBlock || options.cacheBytes < *perBlock)
      return error(plan.at("")) << "needs " << (perBlock ? *perBlock : 0)
                                << " bytes for a block of the KV cache, the "
                                << "budget is " << options.cacheBytes;
    if (*perBlock)
      blocks = int64_t(
          std::min<uint64_t>(uint64_t(blocks), options.cacheBytes / *perBlock));
  }
  std::unique_ptr<Session> session(
      new Session(std::move(model), int32_t(blocks)));
  MOEC_TRY(session->findSymbols());
  session->symbolValues[session->blocksSymbol] = blocks;
  MOEC_ASSIGN(session->runner, Executor::create(session->shared->loadedPlan(),
                                                session->symbolValues));
  session->runner->setCheckNan(options.checkNan);
  return session;
}

/// Looks up what the plan must have to be run by `step`.
llvm::Error Session::findSymbols() {
  const Plan &plan = shared->plan();
  std::optional<unsigned> found = plan.findSignature(facts::kStep);
  if (!found)
    return error(plan.at("")) << "lacks the signature '" << facts::kStep << "'";
  signature = *found;
  const std::pair<const char *, unsigned *> symbols[] = {
      {facts::kTokens, &tokensSymbol}, {facts::kSeqs, &seqsSymbol},
      {facts::kTable, &tableSymbol},   {facts::kRows, &rowsSymbol},
      {facts::kBlocks, &blocksSymbol},
  };
  for (auto [name, index] : symbols) {
    std::optional<unsigned> symbol = plan.findSymbol(name);
    if (!symbol)
      return error(plan.at("")) << "lacks the symbol '" << name << "'";
    *index = *symbol;
  }
  const plan::Signature &step = *plan->signatures()->Get(signature);
  const char *names[] = {facts::kInputTokens, facts::kInputPositions,
                         facts::kInputSeqOffsets, facts::kInputBlockTable,
                         facts::kInputLogitRows};
  unsigned given = step.inputs() ? step.inputs()->size() : 0;
  for (unsigned i = 0; i < inputs.size(); ++i) {
    inputs[i] = given;
    for (unsigned j = 0; j < given; ++j)
      if (step.inputs()->Get(j)->name()->str() == names[i] &&
          step.inputs()->Get(j)->type()->element() == plan::ElementType::i32)
        inputs[i] = j;
    if (inputs[i] == given)
      return error(plan.at("signature 'step'"))
             << "lacks the i32 input '" << names[i] << "'";
  }
  if (given != inputs.size())
    return error(plan.at("signature 'step'"))
           << "expects " << inputs.size() << " inputs, got " << given;
  if (!step.outputs() || step.outputs()->size() != 1 ||
      step.outputs()->Get(0)->type()->element() != plan::ElementType::f32)
    return error(plan.at("signature 'step'"))
           << "expects one f32 output, the logits";

  llvm::ArrayRef<int64_t> maxima = plan.symbolMaxima();
  stepTokens = maxima[tokensSymbol];
  stepSequences = maxima[seqsSymbol];
  stepRows = maxima[rowsSymbol];
  tableColumns = std::min(ceilDiv(shared->context(), shared->blockSize()),
                          maxima[tableSymbol]);
  symbolValues.assign(maxima.size(), 0);
  return llvm::Error::success();
}

int64_t Session::maxSequenceTokens() const {
  return std::min({shared->context(), tableColumns * shared->blockSize(),
                   allocator.total() * shared->blockSize()});
}

SequenceId Session::beginSequence() {
  sequences[nextSequence] = {};
  return SequenceId(nextSequence++);
}

Session::Sequence &Session::find(SequenceId sequence) {
  auto found = sequences.find(uint32_t(sequence));
  assert(found != sequences.end() && "a sequence that has begun, not ended");
  return found->second;
}

void Session::endSequence(SequenceId sequence) {
  allocator.release(find(sequence).blocks);
  sequences.erase(uint32_t(sequence));
}

int64_t Session::length(SequenceId sequence) const {
  return const_cast<Session *>(this)->find(sequence).length;
}

void Session::truncate(SequenceId id, int64_t length) {
  Sequence &sequence = find(id);
  assert(length >= 0 && length <= sequence.length);
  sequence.length = length;
  size_t kept = size_t(ceilDiv(length, shared->blockSize()));
  allocator.release(llvm::ArrayRef<int32_t>(sequence.blocks).drop_front(kept));
  sequence.blocks.resize(kept);
}

llvm::Error Session::checkTokens(llvm::ArrayRef<int32_t> ids) const {
  for (int32_t id : ids)
    if (id < 0 || id >= shared->vocabulary())
      return error(shared->plan().at(""))
             << "expects token ids in [0, " << shared->vocabulary() << "), got "
             << id;
  return llvm::Error::success();
}

llvm::Expected<llvm::ArrayRef<float>>
Session::forward(llvm::ArrayRef<SequenceChunk> chunks) {
  const int64_t blockSize = shared->blockSize();
  // First everything that can fail, so that a failure changes nothing.
  int64_t newBlocks = 0;
  for (const SequenceChunk &chunk : chunks) {
    MOEC_TRY(checkTokens(chunk.tokens));
    const Sequence &sequence = find(chunk.sequence);
    int64_t length = sequence.length + int64_t(chunk.tokens.size());
    if (length > maxSequenceTokens())
      return error(shared->plan().at(""))
             << "a sequence of " << length << " tokens does not fit: "
             << "the context has " << shared->context()
             << " tokens and the session holds " << maxSequenceTokens()
             << " a sequence";
    newBlocks += ceilDiv(length, blockSize) - int64_t(sequence.blocks.size());
  }
  if (newBlocks > allocator.available())
    return error(shared->plan().at(""))
           << "the KV cache is full: " << newBlocks << " more blocks of "
           << blockSize << " tokens are needed, " << allocator.available()
           << " of " << allocator.total() << " are free";

  tokens.clear();
  positions.clear();
  seqOffsets.assign(1, 0);
  blockTable.assign(chunks.size() * size_t(tableColumns), 0);
  logitRows.clear();
  for (auto [row, chunk] : llvm::enumerate(chunks)) {
    Sequence &sequence = find(chunk.sequence);
    int64_t length = sequence.length + int64_t(chunk.tokens.size());
    bool allocated = allocator.allocate(
        int32_t(ceilDiv(length, blockSize) - int64_t(sequence.blocks.size())),
        sequence.blocks);
    assert(allocated && "blocks were counted");
    (void)allocated;
    for (auto [i, token] : llvm::enumerate(chunk.tokens)) {
      bool isLast = i + 1 == chunk.tokens.size();
      if (chunk.logits == WantedLogits::all ||
          (chunk.logits == WantedLogits::last && isLast))
        logitRows.push_back(int32_t(tokens.size()));
      tokens.push_back(token);
      positions.push_back(int32_t(sequence.length + int64_t(i)));
    }
    seqOffsets.push_back(int32_t(tokens.size()));
    std::copy(sequence.blocks.begin(), sequence.blocks.end(),
              blockTable.begin() + int64_t(row) * tableColumns);
  }
  logits.resize(logitRows.size() * size_t(shared->vocabulary()));
  llvm::Error err =
      step({tokens, positions, seqOffsets, blockTable, logitRows}, logits);
  for (const SequenceChunk &chunk : chunks) {
    Sequence &sequence = find(chunk.sequence);
    if (err)
      truncate(chunk.sequence, sequence.length);
    else
      sequence.length += int64_t(chunk.tokens.size());
  }
  if (err)
    return std::move(err);
  return llvm::ArrayRef<float>(logits);
}

llvm::Expected<llvm::ArrayRef<float>>
Session::prefill(SequenceId sequence, llvm::ArrayRef<int32_t> prompt) {
  if (prompt.empty())
    return error(shared->plan().at("")) << "expects at least one token, got "
                                           "none";
  // Said for the whole prompt, not for the step in which it stops fitting.
  int64_t total = length(sequence) + int64_t(prompt.size());
  if (total > maxSequenceTokens())
    return error(shared->plan().at(""))
           << "a prompt of " << total << " tokens does not fit: the context "
           << "has " << shared->context() << " tokens and the session holds "
           << maxSequenceTokens() << " a sequence";
  MOEC_TRY(checkTokens(prompt));
  while (prompt.size() > size_t(stepTokens)) {
    MOEC_TRY(checkInterrupt());
    SequenceChunk chunk{sequence, prompt.take_front(size_t(stepTokens)),
                        WantedLogits::none};
    if (auto logitsOrError = forward(chunk); !logitsOrError)
      return logitsOrError.takeError();
    prompt = prompt.drop_front(size_t(stepTokens));
  }
  MOEC_TRY(checkInterrupt());
  return forward(SequenceChunk{sequence, prompt, WantedLogits::last});
}

llvm::Error Session::checkBatch(const StepBatch &batch, int64_t seqs,
                                int64_t table) const {
  auto fail = [&] { return error(shared->plan().at("step")); };
  int64_t count = int64_t(batch.tokens.size());
  if (count < 1 || count > stepTokens)
    return fail() << "expects 1 to " << stepTokens << " tokens, got " << count;
  if (int64_t(batch.positions.size()) != count)
    return fail() << "expects " << count << " positions, got "
                  << batch.positions.size();
  if (seqs < 1 || seqs > stepSequences)
    return fail() << "expects 1 to " << stepSequences << " sequences, got "
                  << seqs;
  if (int64_t(batch.blockTable.size()) != seqs * table || table < 1)
    return fail() << "expects a block table of " << seqs << " equal rows, got "
                  << batch.blockTable.size() << " entries";
  if (int64_t(batch.logitRows.size()) > stepRows)
    return fail() << "expects at most " << stepRows << " logit rows, got "
                  << batch.logitRows.size();
  MOEC_TRY(checkTokens(batch.tokens));
  if (batch.seqOffsets.front() != 0 || batch.seqOffsets.back() != count)
    return fail() << "expects sequence offsets from 0 to " << count
                  << ", got them from " << batch.seqOffsets.front() << " to "
                  << batch.seqOffsets.back();
  for (int64_t s = 0; s < seqs; ++s)
    if (batch.seqOffsets[size_t(s)] > batch.seqOffsets[size_t(s) + 1])
      return fail() << "expects ascending sequence offsets, got "
                    << batch.seqOffsets[size_t(s)] << " before "
                    << batch.seqOffsets[size_t(s) + 1];
  const int64_t blockSize = shared->blockSize();
  for (int64_t s = 0; s < seqs; ++s) {
    int32_t begin = batch.seqOffsets[size_t(s)];
    int32_t end = batch.seqOffsets[size_t(s) + 1];
    int64_t last = -1;
    for (int32_t t = begin; t < end; ++t) {
      int64_t position = batch.positions[size_t(t)];
      if (position < 0 || position >= shared->context() ||
          position >= table * blockSize)
        return fail() << "expects positions in [0, "
                      << std::min(shared->context(), table * blockSize)
                      << "), got " << position;
      last = std::max(last, position);
    }
    // Attention reads all blocks up to the last position.
    for (int64_t b = 0; b <= last / blockSize && last >= 0; ++b) {
      int32_t block = batch.blockTable[size_t(s * table + b)];
      if (block < 0 || block >= allocator.total())
        return fail() << "expects blocks in [0, " << allocator.total()
                      << "), got " << block;
    }
  }
  for (int32_t row : batch.logitRows)
    if (row < 0 || row >= count)
      return fail() << "expects logit rows in [0, " << count << "), got "
                    << row;
  return llvm::Error::success();
}

llvm::Error Session::step(const StepBatch &batch,
                          llvm::MutableArrayRef<float> out) {
  int64_t seqs = int64_t(batch.seqOffsets.size()) - 1;
  int64_t table = seqs > 0 ? int64_t(batch.blockTable.size()) / seqs : 0;
  MOEC_TRY(checkBatch(batch, seqs, table));
  if (int64_t(out.size()) !=
      int64_t(batch.logitRows.size()) * shared->vocabulary())
    return error(shared->plan().at("step"))
           << "expects room for "
           << int64_t(batch.logitRows.size()) * shared->vocabulary()
           << " logits, got " << out.size();
  symbolValues[tokensSymbol] = int64_t(batch.tokens.size());
  symbolValues[seqsSymbol] = seqs;
  symbolValues[tableSymbol] = table;
  symbolValues[rowsSymbol] = int64_t(batch.logitRows.size());
  std::array<llvm::ArrayRef<uint8_t>, 5> data;
  data[inputs[0]] = bytesOfArray(batch.tokens);
  data[inputs[1]] = bytesOfArray(batch.positions);
  data[inputs[2]] = bytesOfArray(batch.seqOffsets);
  data[inputs[3]] = bytesOfArray(batch.blockTable);
  data[inputs[4]] = bytesOfArray(batch.logitRows);
  llvm::MutableArrayRef<uint8_t> output(reinterpret_cast<uint8_t *>(out.data()),
                                        out.size() * sizeof(float));
  RunRequest request;
  request.signature = signature;
  request.symbols = symbolValues;
  request.inputs = data;
  request.outputs = output;
  return runner->run(request);
}

llvm::Expected<std::vector<ExpertCounter>> Session::expertCounters() {
  std::vector<ExpertCounter> counters;
  const Plan &plan = shared->plan();
  for (unsigned i = 0; plan->states() && i < plan->states()->size(); ++i) {
    const plan::State &state = *plan->states()->Get(i);
    if (state.kind() != plan::StateKind::counter ||
        state.type()->element() != plan::ElementType::i64)
      continue;
    ExpertCounter counter;
    counter.name = state.name()->str();
    counter.counts.resize(size_t(runner->stateSize(i)) / sizeof(int64_t));
    MOEC_TRY(runner->readState(
        i, {reinterpret_cast<uint8_t *>(counter.counts.data()),
            counter.counts.size() * sizeof(int64_t)}));
    counters.push_back(std::move(counter));
  }
  return counters;
}

llvm::Error Session::resetCounters() {
  const Plan &plan = shared->plan();
  for (unsigned i = 0; plan->states() && i < plan->states()->size(); ++i)
    if (plan->states()->Get(i)->kind() == plan::StateKind::counter)
      MOEC_TRY(runner->zeroState(i));
  return llvm::Error::success();
}

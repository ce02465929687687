#include "tools/driver/PackWeights.h"

#include "frontend/importer/Importer.h"
#include "ir/support/AtomicFile.h"
#include "ir/support/Parallel.h"
#include "ir/support/QuantizedBlocks.h"
#include "runtime/cpu/Pack.h"
#include "runtime/program/Plan.h"
#include "runtime/program/WeightProvider.h"
#include "runtime/schema/PlanDigest.h"
#include "tools/driver/AnyModel.h"
#include "tools/driver/StreamRunner.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/MathExtras.h"
#include "llvm/Support/Path.h"

#include <map>
#include <tuple>

using namespace moec;

namespace {

// Weights begin at pages, so that a page belongs to one of them and a device
// may read them past the system's cache.
constexpr uint64_t kPage = 4096;
// A multiple of the largest page of memory: what is written at once can lie in
// one, and then be mapped as one.
constexpr uint64_t kWindow = uint64_t(16) << 20;
// What a thread packs at a time.
constexpr uint64_t kSlice = uint64_t(1) << 20;
// Bytes of computed weights that may wait for their window.
constexpr uint64_t kAhead = uint64_t(256) << 20;

/// A weight in a layout, once for all variants that want it so.
struct Item {
  const plan::PackedWeight *packed;
  runtime::WeightLayout layout;
  std::vector<int64_t> shape;
  uint64_t offset = 0;
  uint64_t bytes = 0;
  Sha256 hash;
  Digest digest{};
};

/// What is read or computed at a time: an item, or one expert of it.
struct Part {
  unsigned item;
  uint64_t start; // in the file
  uint64_t bytes;
  int64_t expert = -1;
  std::optional<runtime::WeightPacker> packer = {};

  uint64_t end() const { return start + bytes; }
};

class WeightFileWriter {
public:
  WeightFileWriter(const runtime::Plan &plan, const Module &module,
                   AtomicFile &file)
      : plan(plan), module(module), file(file), reader(module.baseFolder) {}

  /// Lays the file out for these variants.
  llvm::Error prepare(llvm::ArrayRef<unsigned> variants, PackReport &report);
  llvm::Error write(ProgressFn progress);
  /// The plan with ranges of the file `name`.
  std::string referringTo(llvm::StringRef name) const;

private:
  unsigned itemOf(const plan::PackedWeight &packed);
  llvm::Error addParts(unsigned item);
  llvm::Expected<const Weight *> weightOf(uint16_t index) const;
  bool isStored(uint16_t index) const {
    auto *sources = plan->weights()->Get(index)->sources();
    return sources && sources->size();
  }
  llvm::Error open(Part &part);
  llvm::Expected<runtime::HostTensor> wholeWeight(uint16_t index);
  llvm::Expected<runtime::HostTensor> expertOf(uint16_t index, int64_t expert);
  llvm::Error openUntil(uint64_t end);
  using Task = std::function<llvm::Error()>;
  void addPackTasks(uint64_t begin, llvm::MutableArrayRef<uint8_t> window,
                    std::vector<Task> &tasks);
  void addWriteTasks(uint64_t begin, llvm::ArrayRef<uint8_t> window,
                     std::vector<Task> &tasks);

  const runtime::Plan &plan;
  const Module &module;
  AtomicFile &file;
  CheckpointReader reader;
  runtime::FileWeightProvider provider;
  std::vector<unsigned> variants;
  std::vector<Item> items;
  std::map<std::tuple<std::vector<uint16_t>, plan::LayoutKind,
                      plan::ElementType, uint16_t, uint16_t>,
           unsigned>
      known;
  /// For each variant of `variants`, the items of its packed weights.
  std::vector<std::vector<unsigned>> chosen;
  std::vector<Part> parts;
  size_t firstOpen = 0, nextPart = 0;
  uint64_t fileBytes = runtime::kWeightFileStart;
  Digest id{};
};

} // namespace

unsigned WeightFileWriter::itemOf(const plan::PackedWeight &packed) {
  bool rows = packed.layout() == plan::LayoutKind::row_major;
  auto [at, isNew] =
      known.insert({{{packed.weights()->begin(), packed.weights()->end()},
                     packed.layout(),
                     packed.element(),
                     rows ? uint16_t(0) : packed.panel(),
                     rows ? uint16_t(0) : packed.group()},
                    unsigned(items.size())});
  if (isNew) {
    Item item;
    item.packed = &packed;
    item.layout = runtime::layoutOf(packed);
    item.shape = runtime::constantShape(
        *plan->weights()->Get(packed.weights()->Get(0))->type());
    items.push_back(std::move(item));
  }
  return at->second;
}

llvm::Error WeightFileWriter::prepare(llvm::ArrayRef<unsigned> wanted,
                                      PackReport &report) {
  variants = wanted.vec();
  for (unsigned v : variants) {
    const plan::Variant &variant = *plan->variants()->Get(v);
    PackReport::Variant line;
    line.name = variant.name()->str();
    chosen.emplace_back();
    unsigned count = variant.weights() ? variant.weights()->size() : 0;
    for (unsigned i = 0; i < count; ++i) {
      const plan::PackedWeight *packed = variant.weights()->Get(i);
      size_t before = items.size();
      unsigned index = itemOf(*packed);
      chosen.back().push_back(index);
      Item &item = items[index];
      if (items.size() > before) {
        std::optional<uint64_t> bytes =
            runtime::packedBytes(item.layout, item.shape);
        item.offset = llvm::alignTo(fileBytes, kPage);
        auto end = bytes ? checkedAdd(item.offset, *bytes) : std::nullopt;
        if (!end || *end > uint64_t(INT64_MAX) - kPage)
          return error(plan.at("variant '" + line.name + "'"))
                 << "has packed weights whose size exceeds 63 bits";
        item.bytes = *bytes;
        fileBytes = *end;
        MOEC_TRY(addParts(index));
      } else {
        line.sharedBytes += item.bytes;
      }
      ++line.weights;
      line.bytes += item.bytes;
    }
    report.variants.push_back(std::move(line));
  }
  report.fileBytes = fileBytes;
  return llvm::Error::success();
}

llvm::Expected<const Weight *>
WeightFileWriter::weightOf(uint16_t index) const {
  std::string name = plan->weights()->Get(index)->name()->str();
  const Weight *weight = module.findWeight(name);
  if (!weight)
    return error(plan.at("weight '" + name + "'"))
           << "is not in the module that was compiled";
  return weight;
}

/// A bank that has to be computed is made expert by expert where its expression
/// is a stack of experts: panels keep them apart.
llvm::Error WeightFileWriter::addParts(unsigned index) {
  const Item &item = items[index];
  bool byExpert = item.layout.kind != runtime::WeightLayout::Kind::rowMajor &&
                  item.shape.size() == 3 && item.bytes > 0;
  for (uint16_t source : *item.packed->weights()) {
    if (!byExpert || isStored(source)) {
      byExpert = false;
      break;
    }
    MOEC_ASSIGN(const Weight *weight, weightOf(source));
    // An expert must be a whole number of blocks by itself.
    byExpert = rowExpr(*weight->expr, 0) &&
               item.shape[1] * item.shape[2] %
                       blockElements(weight->type().element()) ==
                   0;
  }
  uint64_t count = byExpert ? uint64_t(item.shape[0]) : 1;
  for (uint64_t e = 0; e < count; ++e)
    parts.push_back({index, item.offset + e * (item.bytes / count),
                     item.bytes / count, byExpert ? int64_t(e) : -1});
  return llvm::Error::success();
}

static runtime::HostTensor tensorOf(std::vector<uint8_t> bytes,
                                    ElementType encoding,
                                    std::vector<int64_t> shape) {
  auto owner = std::make_shared<std::vector<uint8_t>>(std::move(bytes));
  return {*owner, encoding, std::move(shape), owner};
}

llvm::Expected<runtime::HostTensor>
WeightFileWriter::wholeWeight(uint16_t index) {
  if (isStored(index))
    return provider.get(plan, index);
  MOEC_ASSIGN(const Weight *weight, weightOf(index));
  MOEC_ASSIGN(std::vector<uint8_t> bytes, materializeBytes(*weight, reader));
  return tensorOf(std::move(bytes), weight->type().element(),
                  runtime::constantShape(*plan->weights()->Get(index)->type()));
}

llvm::Expected<runtime::HostTensor> WeightFileWriter::expertOf(uint16_t index,
                                                               int64_t expert) {
  MOEC_ASSIGN(const Weight *weight, weightOf(index));
  llvm::Expected<std::vector<float>> numbers =
      materializeRow(*weight->expr, expert, reader);
  if (!numbers)
    return withNote(numbers.takeError(), weight->loc,
                    "while computing weight '" + weight->name + "'");
  ElementType element = weight->type().element();
  std::vector<uint8_t> bytes(*byteSize(element, numbers->size()));
  encodeFromF32(element, *numbers, bytes);
  std::vector<int64_t> shape =
      runtime::constantShape(*plan->weights()->Get(index)->type());
  shape.front() = 1;
  return tensorOf(std::move(bytes), element, std::move(shape));
}

llvm::Error WeightFileWriter::open(Part &part) {
  const Item &item = items[part.item];
  std::vector<runtime::HostTensor> tensors;
  for (uint16_t index : *item.packed->weights()) {
    MOEC_ASSIGN(runtime::HostTensor tensor, part.expert < 0
                                                ? wholeWeight(index)
                                                : expertOf(index, part.expert));
    tensors.push_back(std::move(tensor));
  }
  llvm::Expected<runtime::WeightPacker> packer =
      runtime::WeightPacker::create(item.layout, tensors);
  if (!packer)
    return withNote(packer.takeError(),
                    plan.at("weight '" +
                            plan->weights()
                                ->Get(item.packed->weights()->Get(0))
                                ->name()
                                ->str() +
                            "'"),
                    "while packing it");
  part.packer.emplace(std::move(*packer));
  return llvm::Error::success();
}

/// Opens the parts that begin before `end`. Where experts are computed, as many
/// more as there are threads, if memory allows.
llvm::Error WeightFileWriter::openUntil(uint64_t end) {
  std::vector<Part *> experts;
  uint64_t ahead = 0;
  for (; nextPart < parts.size(); ++nextPart) {
    Part &part = parts[nextPart];
    if (part.start >= end &&
        (part.expert < 0 || experts.empty() ||
         experts.size() >= defaultThreads() || ahead + part.bytes > kAhead))
      break;
    if (part.start >= end)
      ahead += part.bytes;
    if (part.expert < 0)
      MOEC_TRY(open(part));
    else
      experts.push_back(&part);
  }
  return parallelFor(experts.size(), defaultThreads(),
                     [&](uint64_t i) { return open(*experts[i]); });
}

void WeightFileWriter::addPackTasks(uint64_t begin,
                                    llvm::MutableArrayRef<uint8_t> window,
                                    std::vector<Task> &tasks) {
  uint64_t end = begin + window.size();
  for (size_t i = firstOpen; i < nextPart && parts[i].start < end; ++i) {
    Part &part = parts[i];
    uint64_t unit = part.packer->unitBytes();
    uint64_t slice = std::max<uint64_t>(kSlice / unit, 1) * unit;
    uint64_t at = std::max(begin, part.start), last = std::min(end, part.end());
    while (at < last) {
      uint64_t inside = at - part.start;
      uint64_t next = std::min(last, part.start + (inside / slice + 1) * slice);
      auto out = window.slice(at - begin, next - at);
      tasks.push_back([&part, inside, out] {
        part.packer->pack(inside, out);
        return llvm::Error::success();
      });
      at = next;
    }
  }
}

void WeightFileWriter::addWriteTasks(uint64_t begin,
                                     llvm::ArrayRef<uint8_t> window,
                                     std::vector<Task> &tasks) {
  if (window.empty())
    return;
  // One call: a file takes one writer at a time, and large pieces.
  tasks.push_back([this, begin, window]() -> llvm::Error {
    MOEC_TRY(file.writeAt(begin, window));
    file.writeBehind(begin, window.size());
    return llvm::Error::success();
  });
  // A window after the other, so that each digest sees its bytes in order.
  for (Item &item : items) {
    uint64_t first = std::max(begin, item.offset);
    uint64_t last = std::min(begin + window.size(), item.offset + item.bytes);
    if (first < last)
      tasks.push_back(
          [&item, part = window.slice(first - begin, last - first)] {
            item.hash.update(part);
            return llvm::Error::success();
          });
  }
}

llvm::Error WeightFileWriter::write(ProgressFn progress) {
  if (llvm::Error err = file.preallocate(fileBytes))
    return withNote(std::move(err), {},
                    "with --pack=none weights stay in the model's files");
  std::vector<uint8_t> buffers[2];
  llvm::MutableArrayRef<uint8_t> before;
  uint64_t beforeBegin = 0;
  for (uint64_t begin = 0, turn = 0;; begin += kWindow, ++turn) {
    bool isEnd = begin >= fileBytes;
    std::vector<Task> tasks;
    addWriteTasks(beforeBegin, before, tasks);
    llvm::MutableArrayRef<uint8_t> window;
    if (!isEnd) {
      std::vector<uint8_t> &buffer = buffers[turn % 2];
      // Zeros between weights.
      buffer.assign(std::min(kWindow, fileBytes - begin), 0);
      window = buffer;
      MOEC_TRY(openUntil(begin + window.size()));
      addPackTasks(begin, window, tasks);
    }
    MOEC_TRY(parallelFor(tasks.size(), defaultThreads(),
                         [&](uint64_t i) { return tasks[i](); }));
    if (isEnd)
      break;
    for (; firstOpen < nextPart &&
           parts[firstOpen].end() <= begin + window.size();
         ++firstOpen)
      parts[firstOpen].packer.reset();
    before = window;
    beforeBegin = begin;
    if (progress)
      progress(begin + window.size(), fileBytes);
  }
  Sha256 all;
  for (Item &item : items) {
    item.digest = item.hash.finish();
    all.updateU64(item.offset);
    all.updateU64(item.bytes);
    all.update(llvm::ArrayRef<uint8_t>(item.digest));
  }
  id = all.finish();
  return file.writeAt(0, runtime::WeightFileHead{fileBytes, id}.encode());
}

std::string WeightFileWriter::referringTo(llvm::StringRef name) const {
  plan::PlanT copy;
  plan->UnPackTo(&copy);
  auto entry = std::make_unique<plan::WeightFileT>();
  entry->file = name.str();
  entry->bytes = fileBytes;
  entry->id.assign(id.begin(), id.end());
  uint16_t index = uint16_t(copy.weight_files.size());
  copy.weight_files.push_back(std::move(entry));
  for (auto [v, indices] : llvm::zip_equal(variants, chosen))
    for (auto [packed, item] :
         llvm::zip_equal(copy.variants[v]->weights, indices)) {
      auto range = std::make_unique<plan::PackedRangeT>();
      range->file = index;
      range->offset = items[item].offset;
      range->bytes = items[item].bytes;
      range->sha256.assign(items[item].digest.begin(),
                           items[item].digest.end());
      packed->packed = std::move(range);
    }
  return plan::serialize(copy);
}

/// Indices of a plan's variants, each once, in the plan's order.
static llvm::Expected<std::vector<unsigned>>
findVariants(const runtime::Plan &plan, llvm::ArrayRef<std::string> names) {
  std::vector<std::string> known;
  if (plan->variants())
    for (const plan::Variant *variant : *plan->variants())
      known.push_back(variant->name()->str());
  std::vector<bool> wanted(known.size(), false);
  // The best of those that this machine runs.
  auto host = llvm::find_if(known, [levels = hostLevels()](auto &name) {
    return llvm::any_of(levels, [&](cpu::CpuLevel level) {
      return cpu::variantName(level) == name;
    });
  });
  for (const std::string &name : names) {
    bool found = false;
    for (size_t v = 0; v < known.size(); ++v) {
      bool takes = name == "all" || known[v] == name ||
                   llvm::StringRef(known[v]).ends_with("-" + name);
      if (name == "host")
        takes = host == known.end() || known[v] == *host;
      if (takes)
        wanted[v] = found = true;
    }
    if (!found)
      return error() << "--pack is '" << name
                     << "', expects host, all, none, or some of "
                     << llvm::join(known, ", ");
  }
  std::vector<unsigned> indices;
  for (size_t v = 0; v < known.size(); ++v)
    if (wanted[v])
      indices.push_back(unsigned(v));
  return indices;
}

std::string moec::weightFileOf(llvm::StringRef plan) {
  return (plan + ".weights").str();
}

llvm::Expected<PackReport> moec::writePackedPlan(
    llvm::StringRef output, llvm::StringRef planBytes, const Module &module,
    llvm::ArrayRef<std::string> variants, ProgressFn progress) {
  MOEC_ASSIGN(std::shared_ptr<const runtime::Plan> plan,
              runtime::Plan::fromBytes(
                  {planBytes.bytes_begin(), planBytes.bytes_end()}, output));
  MOEC_ASSIGN(std::vector<unsigned> indices, findVariants(*plan, variants));
  MOEC_ASSIGN(AtomicFile planFile, AtomicFile::create(output));
  if (planFile.target() == planFile.temporary())
    return error(Location::inFile(planFile.target()))
           << "is no regular file: --pack writes a file beside the plan";
  PackReport report;
  report.path = weightFileOf(planFile.target());
  MOEC_ASSIGN(AtomicFile weightFile, AtomicFile::create(report.path));
  WeightFileWriter writer(*plan, module, weightFile);
  MOEC_TRY(writer.prepare(indices, report));
  MOEC_TRY(writer.write(progress));
  std::string text = writer.referringTo(llvm::sys::path::filename(report.path));
  report.planBytes = text.size();
  MOEC_TRY(planFile.append(text));
  // What can fail for want of room does so before anything has its name.
  MOEC_TRY(planFile.sync());
  MOEC_TRY(weightFile.commit());
  if (llvm::Error err = planFile.commit()) {
    // No plan, no weights.
    llvm::sys::fs::remove(report.path);
    return err;
  }
  return report;
}

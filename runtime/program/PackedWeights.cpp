#include "runtime/program/PackedWeights.h"

#include "ir/support/Diagnostic.h"
#include "ir/support/MappedFile.h"
#include "runtime/program/Fields.h"
#include "runtime/program/Plan.h"
#include "runtime/program/Polynomial.h"
#include "runtime/schema/plan_generated.h"
#include "llvm/ADT/SmallString.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/Endian.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/Path.h"

#include <unistd.h>

using namespace moec;
using namespace moec::runtime;
namespace endian = llvm::support::endian;

static constexpr llvm::StringLiteral kMagic = "moecwgts";
static constexpr uint32_t kVersion = 1;

WeightLayout runtime::layoutOf(const plan::PackedWeight &packed) {
  WeightLayout layout;
  switch (packed.layout()) {
  case plan::LayoutKind::row_major:
    layout.kind = WeightLayout::Kind::rowMajor;
    break;
  case plan::LayoutKind::panels:
    layout.kind = WeightLayout::Kind::panels;
    break;
  case plan::LayoutKind::gated_panels:
    layout.kind = WeightLayout::Kind::gatedPanels;
    break;
  }
  layout.element = ElementType(packed.element());
  layout.panel = packed.panel();
  layout.group = packed.group();
  return layout;
}

std::vector<int64_t> runtime::constantShape(const plan::TensorType &type) {
  std::vector<int64_t> shape;
  if (type.shape())
    for (const plan::Polynomial *extent : *type.shape())
      shape.push_back(evaluate(extent, {}));
  return shape;
}

std::array<uint8_t, WeightFileHead::kBytes> WeightFileHead::encode() const {
  std::array<uint8_t, kBytes> bytes{};
  llvm::copy(kMagic, bytes.begin());
  endian::write32le(bytes.data() + 8, kVersion);
  endian::write64le(bytes.data() + 16, fileBytes);
  llvm::copy(id, bytes.begin() + 24);
  return bytes;
}

/// Beside the plan as it was named; where nothing is there, beside the file
/// that a link of that name leads to.
static std::string locate(const Plan &plan, llvm::StringRef file) {
  if (llvm::sys::path::is_absolute(file))
    return file.str();
  auto beside = [&](llvm::StringRef planPath) {
    llvm::SmallString<256> path = llvm::sys::path::parent_path(planPath);
    llvm::sys::path::append(path, file);
    return path.str().str();
  };
  std::string path = beside(plan.path());
  llvm::SmallString<256> real;
  if (!llvm::sys::fs::exists(path) &&
      !llvm::sys::fs::real_path(plan.path(), real) &&
      llvm::sys::fs::exists(beside(real)))
    return beside(real);
  return path;
}

static llvm::Error checkHead(const MappedFile &file,
                             const plan::WeightFile &expected) {
  Location place = Location::inFile(file.path());
  llvm::ArrayRef<uint8_t> bytes = file.bytes();
  if (!llvm::toStringRef(bytes).starts_with(kMagic))
    return error(place) << "is no file of packed weights: expects '" << kMagic
                        << "' at its beginning";
  if (bytes.size() != expected.bytes())
    return error(place) << "expects " << expected.bytes() << " bytes, found "
                        << bytes.size()
                        << ": the file was cut off or belongs to another plan";
  // A plan's files have room for the first page.
  if (uint32_t version = endian::read32le(bytes.data() + 8);
      version != kVersion)
    return error(place) << "holds packed weights of version " << version
                        << ", this program reads version " << kVersion;
  if (uint64_t stated = endian::read64le(bytes.data() + 16);
      stated != bytes.size())
    return error(place) << "states a size of " << stated << " bytes, but has "
                        << bytes.size();
  llvm::ArrayRef<uint8_t> id(expected.id()->data(), expected.id()->size());
  if (llvm::ArrayRef<uint8_t> found = bytes.slice(24, 32); found != id)
    return error(place) << "belongs to another plan: expects the id "
                        << moec::toHex(id) << ", found " << moec::toHex(found);
  return llvm::Error::success();
}

llvm::Expected<std::shared_ptr<const MappedFile>>
WeightFiles::open(const Plan &plan, unsigned index) {
  if (files.size() <= index)
    files.resize(plan->weight_files()->size());
  if (files[index])
    return files[index];
  const plan::WeightFile &wanted = *plan->weight_files()->Get(index);
  std::string path =
      locate(plan, {wanted.file()->data(), wanted.file()->size()});
  auto explained = [&](llvm::Error err) {
    return withNote(std::move(err), plan.at(""),
                    "the plan's weights were packed into that file: keep both "
                    "in one folder, or compile again");
  };
  llvm::Expected<std::shared_ptr<const MappedFile>> mapped =
      MappedFile::open(path, /*largePages=*/true);
  if (!mapped)
    return explained(mapped.takeError());
  if (llvm::Error err = checkHead(**mapped, wanted))
    return explained(std::move(err));
  files[index] = *mapped;
  return files[index];
}

/// A model that fills most of the memory is read as it is used.
bool WeightFiles::fitsIntoMemory(uint64_t bytes) {
  uint64_t memory =
      uint64_t(::sysconf(_SC_PHYS_PAGES)) * uint64_t(::sysconf(_SC_PAGESIZE));
  asked += bytes;
  return asked <= memory / 4 * 3;
}

llvm::Expected<HostBytes> WeightFiles::get(const Plan &plan,
                                           const plan::PackedRange &range) {
  MOEC_ASSIGN(std::shared_ptr<const MappedFile> file, open(plan, range.file()));
  MOEC_ASSIGN(llvm::ArrayRef<uint8_t> bytes,
              file->range(range.offset(), range.bytes(), "a packed weight"));
  if (fitsIntoMemory(range.bytes()))
    file->populate(range.offset(), range.bytes());
  if (verify && fields::count(range.sha256()))
    if (auto other = fields::otherDigest(*range.sha256(), bytes))
      return error(Location::atByte(file->path(), int64_t(range.offset())))
             << "expects bytes with " << *other
             << ": the file was changed or damaged; compile again";
  return HostBytes{bytes, file};
}

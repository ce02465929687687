#include "runtime/program/WeightProvider.h"

#include "ir/support/Diagnostic.h"
#include "ir/support/MappedFile.h"
#include "runtime/program/Fields.h"
#include "runtime/program/Plan.h"
#include "runtime/schema/plan_generated.h"
#include "llvm/ADT/SmallString.h"
#include "llvm/Support/Path.h"

using namespace moec;
using namespace moec::runtime;

llvm::Expected<std::shared_ptr<const MappedFile>>
FileWeightProvider::openFile(const Plan &plan, llvm::StringRef file) {
  auto known = files.find(file);
  if (known != files.end())
    return known->second;
  llvm::SmallString<256> path(file);
  if (!llvm::sys::path::is_absolute(path)) {
    path = llvm::sys::path::parent_path(plan.path());
    llvm::sys::path::append(path, file);
  }
  MOEC_ASSIGN(std::shared_ptr<const MappedFile> mapped, MappedFile::open(path));
  files[file] = mapped;
  return mapped;
}

llvm::Expected<HostTensor> FileWeightProvider::get(const Plan &plan,
                                                   unsigned index) {
  const plan::Weight &weight = *plan->weights()->Get(index);
  std::string name = weight.name()->str();
  Location place = plan.at("weight '" + name + "'");
  HostTensor tensor;
  tensor.shape = constantShape(*weight.type());
  if (!weight.sources() || weight.sources()->size() == 0) {
    if (!materializer)
      return error(place) << "has no source file, and nothing was given that "
                             "materialises it; a plan whose weights are packed "
                             "brings all of its weights";
    llvm::Expected<HostTensor> made = materializer(name);
    if (!made)
      return withNote(made.takeError(), place, "while materialising it");
    std::optional<uint64_t> elements = elementCount(made->shape);
    std::optional<uint64_t> bytes =
        elements ? byteSize(made->encoding, *elements) : std::nullopt;
    if (made->shape != tensor.shape || !made->pieces.empty() || !bytes ||
        made->bytes.size() != *bytes)
      return error(place) << "was materialised with another shape or size than "
                             "the plan states";
    return made;
  }
  for (const plan::WeightSource *source : *weight.sources()) {
    llvm::Expected<HostTensor::Piece> piece = getPiece(plan, *source, name);
    if (!piece)
      return withNote(piece.takeError(), place, "is stored there");
    tensor.pieces.push_back(std::move(*piece));
  }
  if (tensor.pieces.size() == 1 && tensor.pieces[0].rotaryHeads == 0) {
    tensor.bytes = tensor.pieces[0].bytes;
    tensor.encoding = tensor.pieces[0].encoding;
    tensor.owner = tensor.pieces[0].owner;
    tensor.pieces.clear();
  }
  return tensor;
}

llvm::Expected<HostTensor::Piece>
FileWeightProvider::getPiece(const Plan &plan, const plan::WeightSource &source,
                             const std::string &name) {
  MOEC_ASSIGN(std::shared_ptr<const MappedFile> file,
              openFile(plan, {source.file()->data(), source.file()->size()}));
  if (source.file_bytes() && source.file_bytes() != file->size())
    return error(Location::inFile(file->path()))
           << "expects a file of " << source.file_bytes() << " bytes, found "
           << file->size() << "; it changed since the plan was compiled";
  MOEC_ASSIGN(
      llvm::ArrayRef<uint8_t> bytes,
      file->range(source.offset(), source.bytes(), "weight '" + name + "'"));
  // Packing reads all of it, from several places at once.
  file->prefetch(source.offset(), source.bytes());
  if (verify && fields::count(source.sha256()))
    if (auto other = fields::otherDigest(*source.sha256(), bytes))
      return error(Location::atByte(file->path(), int64_t(source.offset())))
             << "expects bytes with " << *other;
  return HostTensor::Piece{bytes, ElementType(source.encoding()), file,
                           source.rotary_heads()};
}

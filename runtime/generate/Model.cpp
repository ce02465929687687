#include "runtime/generate/Model.h"

#include "ir/support/Diagnostic.h"
#include "runtime/schema/Facts.h"
#include "runtime/schema/plan_generated.h"
#include "runtime/text/Tokenizer.h"
#include "llvm/ADT/STLExtras.h"

#include <chrono>
#include <cstdlib>

using namespace moec;
using namespace moec::runtime;

Model::~Model() = default;

llvm::Expected<std::shared_ptr<const Model>>
Model::open(llvm::StringRef planPath, ModelOptions options) {
  MOEC_ASSIGN(std::shared_ptr<const Plan> plan, Plan::open(planPath));
  return load(std::move(plan), std::move(options));
}

llvm::Expected<std::shared_ptr<const Model>>
Model::load(std::shared_ptr<const Plan> plan, ModelOptions options) {
  auto start = std::chrono::steady_clock::now();
  std::shared_ptr<Model> model(new Model());
  if (!options.device) {
    MOEC_ASSIGN(options.device, CpuDevice::create(std::move(options.cpu)));
  }
  if (options.variant.empty())
    if (const char *forced = std::getenv("MOEC_VARIANT"))
      options.variant = forced;
  MOEC_ASSIGN(unsigned variant,
              chooseVariant(*plan, *options.device, options.variant));
  FileWeightProvider weights(std::move(options.materializer),
                             options.verifyWeights);
  MOEC_ASSIGN(model->loaded,
              LoadedPlan::load(std::move(plan), std::move(options.device),
                               variant, weights));
  MOEC_TRY(model->readFacts());
  model->seconds =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - start)
          .count();
  return std::shared_ptr<const Model>(std::move(model));
}

llvm::Error Model::readFacts() {
  const Plan &contents = plan();
  MOEC_ASSIGN(contextTokens, contents.integerFact(facts::kContext, 1));
  MOEC_ASSIGN(vocabularySize, contents.integerFact(facts::kVocabulary, 1));
  MOEC_ASSIGN(blockTokens, contents.integerFact(facts::kBlockSize, 1));
  MOEC_ASSIGN(ends, contents.integerList(facts::kEos));
  for (int64_t limit : {contextTokens, vocabularySize, blockTokens})
    if (limit > INT32_MAX)
      return error(contents.at("")) << "has a context, vocabulary or block of "
                                    << limit << ", beyond 31 bits";
  if (const auto *asset = contents->tokenizer(); asset && asset->size()) {
    llvm::StringRef blob(reinterpret_cast<const char *>(asset->data()),
                         asset->size());
    MOEC_ASSIGN(text, Tokenizer::load(blob, contents.path() + ": tokenizer"));
  }
  return llvm::Error::success();
}

bool Model::isEnd(int32_t token) const {
  return llvm::is_contained(ends, token) || (text && text->isStop(token));
}

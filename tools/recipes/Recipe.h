//===- Recipe.h - published methods of upcycling, as data -----------------===//
//
// A recipe is a YAML text: options of the pass `upcycle`, what must be
// measured first (calibration), further models (donors), and the settings of
// the training that follows. The catalogue (catalogue/*.yaml) is embedded; a
// user's file has the same form. What a user sets goes over what the file says,
// and flags go over both.
//
//===----------------------------------------------------------------------===//
#pragma once

#include "passes/upcycle/UpcycleOptions.h"
#include "tools/recipes/Schema.h"

namespace moec {

/// Texts from whose hidden states one expert's router row is made.
struct GatePrompts {
  std::string name;
  std::vector<std::string> positive, negative;
  Location loc;
};

/// Where router rows come from: hidden states of prompts, centroids of the
/// FFN's inputs, or of the rows of each expert's neurons; or a router of two
/// layers that is fitted to how active each expert's neurons are.
enum class RouterSource : unsigned {
  none,
  prompts,
  activations,
  neurons,
  selector
};
inline llvm::ArrayRef<llvm::StringRef> enumNames(RouterSource) {
  static const llvm::StringRef names[] = {"none", "prompts", "activations",
                                          "neurons", "selector"};
  return names;
}
/// How neurons are ordered, so that experts are runs of them: by clusters of
/// their weights, by when they are active together, or by importance.
enum class NeuronOrder : unsigned { none, clusters, coactivation, importance };
inline llvm::ArrayRef<llvm::StringRef> enumNames(NeuronOrder) {
  static const llvm::StringRef names[] = {"none", "clusters", "coactivation",
                                          "importance"};
  return names;
}
/// What stands for a token: the FFN's input, the residual stream before the
/// FFN's norm, or the embedding.
enum class TokenState : unsigned { ffn_input, residual, embedding };
inline llvm::ArrayRef<llvm::StringRef> enumNames(TokenState) {
  static const llvm::StringRef names[] = {"ffn_input", "residual", "embedding"};
  return names;
}
enum class PromptToken : unsigned { mean, last };
inline llvm::ArrayRef<llvm::StringRef> enumNames(PromptToken) {
  static const llvm::StringRef names[] = {"mean", "last"};
  return names;
}
enum class NeuronRows : unsigned { gate, up };
inline llvm::ArrayRef<llvm::StringRef> enumNames(NeuronRows) {
  static const llvm::StringRef names[] = {"gate", "up"};
  return names;
}
/// Sum over tokens of |h|, or of |h| times the norm of the neuron's column of
/// down.
enum class Importance : unsigned { hidden, output };
inline llvm::ArrayRef<llvm::StringRef> enumNames(Importance) {
  static const llvm::StringRef names[] = {"hidden", "output"};
  return names;
}

struct CalibrationSettings final : AttrsOf<CalibrationSettings> {
  RouterSource router = RouterSource::none;
  NeuronOrder order = NeuronOrder::none;
  TokenState state = TokenState::ffn_input;
  PromptToken token = PromptToken::mean;
  NeuronRows rows = NeuronRows::gate;
  Importance importance = Importance::output;
  /// Rows of the router have this norm; 0 leaves them as they are.
  double norm = 1;
  /// Tokens of text that are run, at most.
  int64_t tokens = 256;
  /// Rounds of k-means, at most.
  int64_t iterations = 50;
  /// selector: times that the tokens are gone through, and the step of Adam.
  int64_t epochs = 30;
  double rate = 0.01;
  template <typename V> void fields(V &v) {
    v.field("router", router);
    v.field("order", order);
    v.field("state", state);
    v.field("token", token);
    v.field("rows", rows);
    v.field("importance", importance);
    v.field("norm", norm);
    v.field("tokens", tokens);
    v.field("iterations", iterations);
    v.field("epochs", epochs);
    v.field("rate", rate);
  }
  bool isNeeded() const {
    return router != RouterSource::none || order != NeuronOrder::none;
  }
  /// Texts whose tokens are run.
  std::vector<std::string> texts;
  std::vector<GatePrompts> prompts;
};

struct Recipe {
  std::string name, title, paper, summary, notes;
  int64_t version = 1;
  /// What stays of the dense function at step 0: a class of exactness, and the
  /// same in words.
  std::string preservesClass, preserves;
  RecipeParameters parameters;
  UpcycleOptions options;
  /// Names of the options that the file, `--set` or a flag gives.
  std::vector<std::string> given;
  CalibrationSettings calibration;
  int64_t minimumDonors = 0;
  std::string donors;
  /// What is no FFN stays the base model's, instead of the donors' mean.
  bool keepRest = false;
  llvm::json::Object training;
  /// Digest of the model that the recipe was written for; may be empty.
  std::string sourceSha256;
  Location sourceLoc;
  /// Of the recipe's text; empty where there is none.
  std::string sha256;

  bool isGiven(llvm::StringRef option) const;
  /// Every key that a module carries: `training.*`, `upcycle.recipe`.
  void addFacts(std::map<std::string, std::string> &facts) const;
};

/// One file of the catalogue.
struct RecipeText {
  llvm::StringRef name;
  llvm::StringRef yaml;
};
/// Sorted by name.
llvm::ArrayRef<RecipeText> catalogue();
const RecipeText *findInCatalogue(llvm::StringRef name);

/// A recipe while it is put together.
class RecipeBuilder {
public:
  /// No recipe: the defaults of the pass.
  RecipeBuilder();
  /// `NAME`, `NAME:PRESET` or a file of YAML.
  static llvm::Expected<RecipeBuilder> open(llvm::StringRef nameOrFile);
  static llvm::Expected<RecipeBuilder> fromText(llvm::StringRef yaml,
                                                llvm::StringRef file);

  const std::string &text() const { return yaml; }
  /// Names of presets and what each sets: `E = 8, G = 8, T = 8`.
  std::vector<std::pair<std::string, std::string>> presets() const;
  llvm::Error usePreset(llvm::StringRef name);

  /// `KEY=VALUE`, as in `--set`: a parameter, an option, or a path such as
  /// `training.schedule.peak`.
  llvm::Error set(llvm::StringRef assignment);
  /// An option that a flag gives. It goes over everything.
  llvm::Error setFlag(llvm::StringRef option, llvm::StringRef value);
  /// Prompts from a file in the place of the recipe's.
  llvm::Error setPrompts(llvm::StringRef text, llvm::StringRef file);

  /// Checks all keys and values, and whether they contradict each other.
  llvm::Expected<Recipe> build() const;

private:
  enum class Origin { file, set, flag };
  struct Setting {
    YamlEntry entry;
    Origin origin;
  };
  llvm::Error readParameters(Recipe &recipe) const;
  llvm::Error readOptions(Recipe &recipe) const;
  llvm::Error readCalibration(Recipe &recipe) const;

  std::string yaml;
  YamlNode root;
  /// Set above the file's options, in order.
  std::vector<Setting> settings;
};

} // namespace moec

//===- TinyModel.h - small Hugging Face models that tests write -----------===//
#pragma once

#include "ir/support/Philox.h"
#include "ir/support/QuantizedBlocks.h"
#include "ir/support/SafetensorsWriter.h"
#include "tests/ir/support/TemporaryFolder.h"
#include "llvm/ADT/STLExtras.h"

#include <string>
#include <utility>
#include <vector>

namespace moec {

/// A directory with config.json and model.safetensors. Change `config` or
/// `tensors`, then `write`.
class TinyModel {
public:
  /// JSON text of each setting.
  std::vector<std::pair<std::string, std::string>> config;
  std::vector<SafetensorsLayout> tensors;
  SafetensorsMetadata metadata;
  TemporaryFolder folder;

  void set(llvm::StringRef key, llvm::StringRef value) {
    for (auto &[name, text] : config)
      if (name == key) {
        text = value.str();
        return;
      }
    config.emplace_back(key.str(), value.str());
  }
  void unset(llvm::StringRef key) {
    llvm::erase_if(config, [&](auto &entry) { return entry.first == key; });
  }
  void add(llvm::StringRef name, std::vector<int64_t> shape) {
    tensors.push_back({name.str(), ElementType::f32, std::move(shape)});
  }
  void remove(llvm::StringRef name) {
    llvm::erase_if(tensors, [&](auto &tensor) { return tensor.name == name; });
  }
  SafetensorsLayout &tensor(llvm::StringRef name) {
    return *llvm::find_if(tensors,
                          [&](auto &tensor) { return tensor.name == name; });
  }

  /// Values depend on the tensor's name only.
  static std::vector<float> valuesOf(const SafetensorsLayout &tensor) {
    std::vector<float> values(size_t(*elementCount(tensor.shape)));
    fillNormal(RandomKey::of(1, "test", tensor.name), 0, 0.0, 0.1, values);
    return values;
  }

  std::string configText() const {
    std::string text = "{\n";
    for (size_t i = 0; i < config.size(); ++i)
      text += "  \"" + config[i].first + "\": " + config[i].second +
              (i + 1 < config.size() ? ",\n" : "\n");
    return text + "}\n";
  }
  void writeConfig() const { folder.write("config.json", configText()); }
  llvm::Error writeTensors(llvm::StringRef file = "model.safetensors") const {
    std::vector<std::vector<uint8_t>> bytes;
    std::vector<llvm::ArrayRef<uint8_t>> views;
    for (const SafetensorsLayout &tensor : tensors) {
      std::vector<float> values = valuesOf(tensor);
      bytes.emplace_back(*byteSize(tensor.type, values.size()));
      if (canEncodeFromF32(tensor.type))
        encodeFromF32(tensor.type, values, bytes.back());
    }
    for (const auto &part : bytes)
      views.push_back(part);
    return writeSafetensorsFile(folder.file(file), tensors, views, metadata);
  }
  llvm::Error write() const {
    writeConfig();
    return writeTensors();
  }

  /// Two layers, hidden 16, 4 heads (2 for keys), FFN 24, vocabulary 40.
  void makeLlama(llvm::StringRef type = "llama",
                 llvm::StringRef architecture = "LlamaForCausalLM") {
    config = {{"architectures", "[\"" + architecture.str() + "\"]"},
              {"model_type", "\"" + type.str() + "\""},
              {"hidden_size", "16"},
              {"num_hidden_layers", "2"},
              {"num_attention_heads", "4"},
              {"num_key_value_heads", "2"},
              {"intermediate_size", "24"},
              {"vocab_size", "40"},
              {"max_position_embeddings", "64"},
              {"rms_norm_eps", "1e-06"},
              {"hidden_act", "\"silu\""},
              {"tie_word_embeddings", "false"},
              {"bos_token_id", "1"},
              {"eos_token_id", "2"}};
    add("model.embed_tokens.weight", {40, 16});
    for (std::string layer : {"model.layers.0.", "model.layers.1."}) {
      add(layer + "input_layernorm.weight", {16});
      add(layer + "self_attn.q_proj.weight", {16, 16});
      add(layer + "self_attn.k_proj.weight", {8, 16});
      add(layer + "self_attn.v_proj.weight", {8, 16});
      add(layer + "self_attn.o_proj.weight", {16, 16});
      add(layer + "post_attention_layernorm.weight", {16});
      add(layer + "mlp.gate_proj.weight", {24, 16});
      add(layer + "mlp.up_proj.weight", {24, 16});
      add(layer + "mlp.down_proj.weight", {16, 24});
    }
    add("model.norm.weight", {16});
    add("lm_head.weight", {40, 16});
  }

  void makeQwen2() {
    makeLlama("qwen2", "Qwen2ForCausalLM");
    for (std::string layer : {"model.layers.0.", "model.layers.1."}) {
      add(layer + "self_attn.q_proj.bias", {16});
      add(layer + "self_attn.k_proj.bias", {8});
      add(layer + "self_attn.v_proj.bias", {8});
    }
  }

  /// Heads of 8 elements, so that q and o are no squares.
  void makeQwen3() {
    makeLlama("qwen3", "Qwen3ForCausalLM");
    set("head_dim", "8");
    for (std::string layer : {"model.layers.0.", "model.layers.1."}) {
      add(layer + "self_attn.q_norm.weight", {8});
      add(layer + "self_attn.k_norm.weight", {8});
      tensor(layer + "self_attn.q_proj.weight").shape = {32, 16};
      tensor(layer + "self_attn.k_proj.weight").shape = {16, 16};
      tensor(layer + "self_attn.v_proj.weight").shape = {16, 16};
      tensor(layer + "self_attn.o_proj.weight").shape = {16, 32};
    }
  }

  /// Three experts, two used.
  void makeMixtral() {
    makeLlama("mixtral", "MixtralForCausalLM");
    set("num_local_experts", "3");
    set("num_experts_per_tok", "2");
    for (std::string layer : {"model.layers.0.", "model.layers.1."}) {
      for (std::string part : {"gate", "up", "down"})
        remove(layer + "mlp." + part + "_proj.weight");
      std::string block = layer + "block_sparse_moe.";
      add(block + "gate.weight", {3, 16});
      for (std::string expert : {"0", "1", "2"}) {
        add(block + "experts." + expert + ".w1.weight", {24, 16});
        add(block + "experts." + expert + ".w2.weight", {16, 24});
        add(block + "experts." + expert + ".w3.weight", {24, 16});
      }
    }
  }

  void makeGpt2(const std::string &prefix = "") {
    config = {{"architectures", "[\"GPT2LMHeadModel\"]"},
              {"model_type", "\"gpt2\""},
              {"n_embd", "16"},
              {"n_layer", "2"},
              {"n_head", "4"},
              {"n_positions", "32"},
              {"vocab_size", "40"},
              {"activation_function", "\"gelu_new\""}};
    add(prefix + "wte.weight", {40, 16});
    add(prefix + "wpe.weight", {32, 16});
    for (std::string number : {"0", "1"}) {
      std::string layer = prefix + "h." + number + ".";
      auto addBoth = [&](const std::string &name, std::vector<int64_t> shape) {
        add(layer + name + ".bias", {shape.back()});
        add(layer + name + ".weight", std::move(shape));
      };
      addBoth("ln_1", {16});
      addBoth("attn.c_attn", {16, 48});
      addBoth("attn.c_proj", {16, 16});
      addBoth("ln_2", {16});
      addBoth("mlp.c_fc", {16, 64});
      addBoth("mlp.c_proj", {64, 16});
      tensors.push_back({layer + "attn.bias", ElementType::u8, {1, 1, 32, 32}});
    }
    add(prefix + "ln_f.weight", {16});
    add(prefix + "ln_f.bias", {16});
  }
};

} // namespace moec

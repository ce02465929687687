//===- ChatTemplate.h - messages to the text a model was trained on -------===//
//
// Model files carry their chat format as a Jinja program. No Jinja runs here:
// the program's text is recognised as one of a few families, each written out
// in C++ and equal to what Jinja gives for system, user and assistant turns.
// A template that is not recognised is an error, never a guess.
//
//===----------------------------------------------------------------------===//
#pragma once

#include "llvm/ADT/ArrayRef.h"
#include "llvm/ADT/StringRef.h"
#include "llvm/Support/Error.h"

#include <cstdint>
#include <string>

namespace moec {

enum class ChatFamily : uint8_t {
  /// The files have no template.
  None,
  /// They have one that is none of the families below.
  Unrecognised,
  /// `<|im_start|>role`, with or without a default system message: SmolLM2,
  /// Qwen2 and Qwen2.5.
  ChatMl,
  /// ChatMl that drops the reasoning of turns before the last question.
  Qwen3,
  /// `[INST] ... [/INST]` with `<<SYS>>`.
  Llama2,
  /// `<|start_header_id|>role<|end_header_id|>`.
  Llama3,
  /// Llama3 with a system turn that states the dates: 3.1 and later.
  Llama31,
  /// `<|user|>` and the end-of-sequence token: TinyLlama, Zephyr.
  Zephyr,
};

struct ChatTemplate {
  ChatFamily family = ChatFamily::None;
  /// The Jinja text as the model's files have it.
  std::string source;
  /// ChatMl: what the system says where the messages do not begin with a
  /// system turn; used only if `hasDefaultSystem`.
  std::string defaultSystem;
  bool hasDefaultSystem = false;
  /// Llama3: the template adds the assistant's header whether asked or not.
  bool alwaysPrompts = false;

  /// Whether the template asks for today's date, as Llama 3.2's does, and not
  /// for one that is written in it.
  bool asksDate() const {
    return llvm::StringRef(source).contains("strftime_now(");
  }

  friend bool operator==(const ChatTemplate &, const ChatTemplate &) = default;
};

struct ChatMessage {
  std::string role;
  std::string content;
};

struct ChatOptions {
  /// Ends the text where the assistant's answer begins.
  bool addGenerationPrompt = true;
  /// Qwen3: false writes an empty thought into the generation prompt.
  bool enableThinking = true;
  /// Llama31: today, if the template asks for it; this is what templates that
  /// do not ask state, and what the others fall back to.
  std::string date = "26 Jul 2024";
  /// The text of the tokens of those names.
  std::string bos, eos;
};

/// Finds the family of a template from its text.
ChatTemplate recogniseChatTemplate(llvm::StringRef source);

/// Renders `messages`. The text holds the special tokens spelled out, so it is
/// to be encoded with special tokens parsed and none added.
llvm::Expected<std::string> renderChat(const ChatTemplate &chat,
                                       llvm::ArrayRef<ChatMessage> messages,
                                       const ChatOptions &options);

} // namespace moec

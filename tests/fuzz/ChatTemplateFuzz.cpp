#include "runtime/text/ChatTemplate.h"
#include "tests/fuzz/TokenizerFuzz.h"

using namespace moec;

static void render(const ChatTemplate &chat,
                   llvm::ArrayRef<ChatMessage> messages) {
  ChatOptions options;
  options.bos = "<s>";
  options.eos = "</s>";
  for (bool prompt : {false, true}) {
    options.addGenerationPrompt = prompt;
    options.enableThinking = prompt;
    auto text = renderChat(chat, messages, options);
    if (!text) {
      (void)toText(text.takeError());
      continue;
    }
    auto again = renderChat(chat, messages, options);
    if (!again || *again != *text)
      std::abort();
  }
}

/// Any text as a model's template, or as what is said: a template is
/// recognised, or conversations are refused.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
  std::string text = asText(bytes, size).str();
  ChatTemplate chat = recogniseChatTemplate(text);
  std::vector<ChatMessage> messages = {{"system", "Be brief."},
                                       {"user", "hello"},
                                       {"assistant", "<think>x</think>hi"},
                                       {"user", text}};
  render(chat, messages);
  render(chat, llvm::ArrayRef(messages).drop_front());
  render(chat, {{text, text}});
  render(chat, {});
  for (auto family :
       {ChatFamily::ChatMl, ChatFamily::Qwen3, ChatFamily::Llama2,
        ChatFamily::Llama3, ChatFamily::Llama31, ChatFamily::Zephyr}) {
    chat.family = family;
    render(chat, messages);
  }
  return 0;
}

#include "runtime/text/ChatTemplate.h"

#include "ir/support/Diagnostic.h"
#include "runtime/text/Unicode.h"
#include "llvm/ADT/STLExtras.h"

#include <vector>

using namespace moec;

static constexpr llvm::StringLiteral kSupported =
    "chatml (SmolLM2, Qwen2, Qwen2.5), qwen3, llama2, llama3, llama3.1, zephyr";

//===----------------------------------------------------------------------===//
// Recognising
//===----------------------------------------------------------------------===//

/// The text of a Jinja string literal.
static std::string unescape(llvm::StringRef literal) {
  std::string out;
  for (size_t pos = 0; pos < literal.size(); ++pos) {
    if (literal[pos] == '\\' && pos + 1 < literal.size()) {
      char escaped = literal[++pos];
      out += escaped == 'n' ? '\n' : escaped == 't' ? '\t' : escaped;
    } else {
      out += literal[pos];
    }
  }
  return out;
}

/// Finds a system turn that is spelled out in the template. Returns false if
/// there is one that this cannot read.
static bool findDefaultSystem(llvm::StringRef source, ChatTemplate &chat) {
  constexpr llvm::StringLiteral kOpening = "<|im_start|>system";
  for (size_t pos = 0; (pos = source.find(kOpening, pos)) != source.npos;) {
    pos += kOpening.size();
    llvm::StringRef rest = source.substr(pos);
    if (!rest.consume_front("\\n") && !rest.consume_front("\n"))
      continue;
    // A quote ends the literal: what follows is computed.
    if (rest.starts_with("'") || rest.starts_with("\""))
      continue;
    size_t end = rest.find("<|im_end|>");
    llvm::StringRef literal = rest.substr(0, end);
    if (end == rest.npos || literal.contains("{") || literal.contains(" + "))
      return false;
    std::string text = unescape(literal);
    if (chat.hasDefaultSystem && chat.defaultSystem != text)
      return false;
    chat.hasDefaultSystem = true;
    chat.defaultSystem = text;
  }
  return true;
}

/// The text that a template prints outside of its expressions, each piece on
/// its own, with blocks trimmed and tags stripped to the left as for chat
/// templates. Empty pieces are left out.
static std::vector<std::string> literalText(llvm::StringRef source) {
  std::vector<std::string> pieces;
  source.consume_back("\n");
  enum { None, Tag, Expression, Trimmed } before = None;
  while (true) {
    size_t open = source.find('{');
    while (open != source.npos && open + 1 < source.size() &&
           !llvm::StringRef("{%#").contains(source[open + 1]))
      open = source.find('{', open + 1);
    llvm::StringRef text = source.substr(0, open);
    llvm::StringRef tag = open == source.npos ? "" : source.substr(open);
    if (before == Tag)
      text.consume_front("\n");
    if (before == Trimmed)
      text = text.ltrim();
    if (tag.size() > 2 && tag[2] == '-')
      text = text.rtrim();
    else if (tag.size() > 1 && tag[1] != '{' &&
             (text.rtrim(" \t").empty() ? before != Expression
                                        : text.rtrim(" \t").ends_with("\n")))
      text = text.rtrim(" \t");
    if (!text.empty())
      pieces.push_back(text.str());
    if (tag.size() < 2)
      return pieces;
    const char *end = tag[1] == '{' ? "}}" : tag[1] == '%' ? "%}" : "#}";
    size_t close = tag.find(end, 2);
    if (close == tag.npos)
      return pieces;
    before = tag[close - 1] == '-' ? Trimmed : tag[1] == '{' ? Expression : Tag;
    source = tag.substr(close + 2);
  }
}

static ChatFamily chatMlFamily(llvm::StringRef source, ChatTemplate &chat) {
  auto has = [&](llvm::StringRef part) { return source.contains(part); };
  bool readsMessages = (has("message['role']") || has("message.role")) &&
                       (has("message['content']") || has("message.content")) &&
                       has("add_generation_prompt") &&
                       has("<|im_start|>assistant");
  // What changes the text in ways that the renderer does not follow.
  for (llvm::StringRef part :
       {"bos_token", "strftime", "raise_exception", "| trim", "|trim",
        "messages[-1]", "upper", "replace("})
    readsMessages &= !has(part);
  if (!readsMessages)
    return ChatFamily::Unrecognised;
  if (has("<think>") || has("reasoning")) {
    bool known = has("last_query_index") && has("reasoning_content") &&
                 has("enable_thinking") &&
                 !has("<|im_start|>assistant\\n<think>");
    return known ? ChatFamily::Qwen3 : ChatFamily::Unrecognised;
  }
  if (has("not loop.last") || has("strip(") || !findDefaultSystem(source, chat))
    return ChatFamily::Unrecognised;
  return ChatFamily::ChatMl;
}

ChatTemplate moec::recogniseChatTemplate(llvm::StringRef source) {
  ChatTemplate chat;
  chat.source = source.str();
  auto has = [&](llvm::StringRef part) { return source.contains(part); };
  // A line break in a literal is an escape, or stands there itself.
  auto hasHeader = [&](const std::string &role) {
    return has("'<|" + role + "|>\\n'") || has("'<|" + role + "|>\n'");
  };
  chat.family = ChatFamily::Unrecognised;
  if (source.empty()) {
    chat.family = ChatFamily::None;
  } else if (has("<|im_start|>") && has("<|im_end|>")) {
    chat.family = chatMlFamily(source, chat);
  } else if (has("<|start_header_id|>") && has("<|eot_id|>") && has("trim") &&
             !has("<think>")) {
    bool knowsDates = has("Cutting Knowledge Date");
    bool asIn31 = has("\"Cutting Knowledge Date: December 2023\\n\" }}") &&
                  has("\"Today Date: \" + date_string + \"\\n\\n\" }}");
    if (!knowsDates)
      chat.family = ChatFamily::Llama3;
    else if (asIn31)
      chat.family = ChatFamily::Llama31;
    chat.alwaysPrompts = !has("add_generation_prompt");
  } else if (has("<<SYS>>") && has("bos_token + '[INST] '") &&
             has(".strip()") && has("' [/INST]'") &&
             !has("add_generation_prompt")) {
    // Some have a system message of their own, mostly switched off.
    bool speaksForSystem =
        has("set system_message = '") || has("set system_message = \"");
    if (!speaksForSystem || has("elif false == true"))
      chat.family = ChatFamily::Llama2;
  } else if (hasHeader("user") && hasHeader("assistant") &&
             hasHeader("system") && has("+ eos_token") &&
             has("loop.last and add_generation_prompt")) {
    chat.family = ChatFamily::Zephyr;
  }
  // The renderers print what expressions give and nothing else, but for the
  // line that ends each of Zephyr's.
  std::vector<std::string> literals = literalText(source);
  bool asExpected = literals.empty();
  if (chat.family == ChatFamily::Zephyr)
    asExpected = literals == std::vector<std::string>(4, "\n");
  if (chat.family != ChatFamily::None && !asExpected)
    chat.family = ChatFamily::Unrecognised;
  return chat;
}

//===----------------------------------------------------------------------===//
// Rendering
//===----------------------------------------------------------------------===//

/// Python's str.strip().
static llvm::StringRef strip(llvm::StringRef text) {
  auto isSpace = [](uint32_t code) {
    return isUnicodeSpace(code) || (code >= 0x1C && code <= 0x1F);
  };
  while (!text.empty()) {
    Utf8Char c = decodeUtf8(text, 0);
    if (!isSpace(c.code))
      break;
    text = text.drop_front(c.bytes);
  }
  while (!text.empty()) {
    size_t start = text.size() - 1;
    while (start > 0 && (uint8_t(text[start]) & 0xC0) == 0x80)
      --start;
    if (!isSpace(decodeUtf8(text, start).code))
      break;
    text = text.take_front(start);
  }
  return text;
}

static std::string chatMlTurn(llvm::StringRef role, llvm::StringRef content) {
  return ("<|im_start|>" + role + "\n" + content + "<|im_end|>\n").str();
}

static std::string renderChatMl(const ChatTemplate &chat,
                                llvm::ArrayRef<ChatMessage> messages,
                                const ChatOptions &options) {
  std::string text;
  if (chat.hasDefaultSystem && messages.front().role != "system")
    text += chatMlTurn("system", chat.defaultSystem);
  for (const ChatMessage &message : messages)
    text += chatMlTurn(message.role, message.content);
  if (options.addGenerationPrompt)
    text += "<|im_start|>assistant\n";
  return text;
}

/// The thought and the answer of an assistant's turn.
static std::pair<llvm::StringRef, llvm::StringRef>
splitThought(llvm::StringRef content) {
  constexpr llvm::StringLiteral kEnd = "</think>", kBegin = "<think>";
  size_t firstEnd = content.find(kEnd);
  if (firstEnd == content.npos)
    return {"", content};
  llvm::StringRef thought = content.take_front(firstEnd).rtrim('\n');
  size_t begin = thought.rfind(kBegin);
  if (begin != thought.npos)
    thought = thought.substr(begin + kBegin.size());
  llvm::StringRef answer = content.substr(content.rfind(kEnd) + kEnd.size());
  return {thought.ltrim('\n'), answer.ltrim('\n')};
}

static std::string renderQwen3(llvm::ArrayRef<ChatMessage> messages,
                               const ChatOptions &options) {
  // Thoughts are kept after the last question only.
  size_t lastQuestion = messages.size() - 1;
  for (size_t i = messages.size(); i-- > 0;) {
    llvm::StringRef content = messages[i].content;
    bool isToolResponse = content.starts_with("<tool_response>") &&
                          content.ends_with("</tool_response>");
    if (messages[i].role == "user" && !isToolResponse) {
      lastQuestion = i;
      break;
    }
  }
  std::string text;
  for (auto [index, message] : llvm::enumerate(messages)) {
    if (message.role != "assistant") {
      text += chatMlTurn(message.role, message.content);
      continue;
    }
    auto [thought, answer] = splitThought(message.content);
    bool isLast = index + 1 == messages.size();
    if (index > lastQuestion && (isLast || !thought.empty()))
      text += chatMlTurn(message.role, ("<think>\n" + thought.trim('\n') +
                                        "\n</think>\n\n" + answer.ltrim('\n'))
                                           .str());
    else
      text += chatMlTurn(message.role, answer);
  }
  if (options.addGenerationPrompt) {
    text += "<|im_start|>assistant\n";
    if (!options.enableThinking)
      text += "<think>\n\n</think>\n\n";
  }
  return text;
}

static llvm::Expected<std::string>
renderLlama2(llvm::ArrayRef<ChatMessage> messages, const ChatOptions &options) {
  const std::string *system = nullptr;
  if (messages.front().role == "system") {
    system = &messages.front().content;
    messages = messages.drop_front();
  }
  std::string text;
  for (auto [index, message] : llvm::enumerate(messages)) {
    llvm::StringRef expected = index % 2 == 0 ? "user" : "assistant";
    if (message.role != expected)
      return error(Location::ofObject("messages"))
             << "expected the roles user and assistant in turn after an "
                "optional system message, got '"
             << message.role << "' where '" << expected << "' is due";
    std::string content = message.content;
    if (index == 0 && system)
      content = "<<SYS>>\n" + *system + "\n<</SYS>>\n\n" + content;
    if (message.role == "user")
      text += options.bos + "[INST] " + strip(content).str() + " [/INST]";
    else
      text += " " + strip(content).str() + " " + options.eos;
  }
  return text;
}

static std::string llama3Turn(llvm::StringRef role, llvm::StringRef content) {
  return ("<|start_header_id|>" + role + "<|end_header_id|>\n\n" + content +
          "<|eot_id|>")
      .str();
}

static std::string renderLlama3(const ChatTemplate &chat,
                                llvm::ArrayRef<ChatMessage> messages,
                                const ChatOptions &options) {
  std::string text = options.bos;
  if (chat.family == ChatFamily::Llama31) {
    std::string system =
        "Cutting Knowledge Date: December 2023\nToday Date: " + options.date +
        "\n\n";
    if (messages.front().role == "system") {
      system += strip(messages.front().content);
      messages = messages.drop_front();
    }
    text += llama3Turn("system", system);
  }
  for (const ChatMessage &message : messages)
    text += llama3Turn(message.role, strip(message.content));
  if (options.addGenerationPrompt || chat.alwaysPrompts)
    text += "<|start_header_id|>assistant<|end_header_id|>\n\n";
  return text;
}

static std::string renderZephyr(llvm::ArrayRef<ChatMessage> messages,
                                const ChatOptions &options) {
  std::string text;
  for (const ChatMessage &message : messages)
    text += "<|" + message.role + "|>\n" + message.content + options.eos + "\n";
  if (options.addGenerationPrompt)
    text += "<|assistant|>\n";
  return text;
}

llvm::Expected<std::string>
moec::renderChat(const ChatTemplate &chat, llvm::ArrayRef<ChatMessage> messages,
                 const ChatOptions &options) {
  auto fail = [] { return error(Location::ofObject("chat template")); };
  if (chat.family == ChatFamily::None)
    return fail() << "expected the model to have one, found none";
  if (messages.empty())
    return fail() << "expected at least one message, got none";
  for (const ChatMessage &message : messages)
    if (message.role != "system" && message.role != "user" &&
        message.role != "assistant")
      return fail() << "expected the role 'system', 'user' or 'assistant', got "
                       "'"
                    << message.role << "'";
  switch (chat.family) {
  case ChatFamily::ChatMl:
    return renderChatMl(chat, messages, options);
  case ChatFamily::Qwen3:
    return renderQwen3(messages, options);
  case ChatFamily::Llama2:
    return renderLlama2(messages, options);
  case ChatFamily::Llama3:
  case ChatFamily::Llama31:
    return renderLlama3(chat, messages, options);
  case ChatFamily::Zephyr:
    return renderZephyr(messages, options);
  case ChatFamily::None:
  case ChatFamily::Unrecognised:
    break;
  }
  return fail() << "expected one of the families " << kSupported
                << ", found a template that is none of them";
}

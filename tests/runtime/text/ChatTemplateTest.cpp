#include "runtime/text/ChatTemplate.h"

#include "ir/support/Diagnostic.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

using namespace moec;

namespace {

// Short programs with the constructs by which the families are told apart.
const char *const kSmolLm2 =
    "{% for message in messages %}{% if loop.first and messages[0]['role'] != "
    "'system' %}{{ '<|im_start|>system\\nYou are \\'Smol\\'.<|im_end|>\\n' }}"
    "{% endif %}{{'<|im_start|>' + message['role'] + '\\n' + "
    "message['content'] + '<|im_end|>' + '\\n'}}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}"
    "{% endif %}";
const char *const kPlainChatMl =
    "{%- for message in messages %}\n    {{- '<|im_start|>' + message.role + "
    "'\\n' + message.content + '<|im_end|>\\n' }}\n{%- endfor %}\n"
    "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}"
    "{%- endif %}\n";
const char *const kQwen3 =
    "{%- set ns = namespace(last_query_index=messages|length - 1) %}"
    "{%- for message in messages %}{%- set reasoning_content = '' %}"
    "{%- if '</think>' in message.content %}{%- endif %}"
    "{{- '<|im_start|>' + message.role + '\\n<think>\\n' + message.content + "
    "'<|im_end|>\\n' }}{%- endfor %}{%- if add_generation_prompt %}"
    "{{- '<|im_start|>assistant\\n' }}{%- if enable_thinking is false %}"
    "{{- '<think>\\n\\n</think>\\n\\n' }}{%- endif %}{%- endif %}";
const char *const kLlama2 =
    "{% if messages[0]['role'] == 'system' %}{% set system_message = "
    "messages[0]['content'] %}{% endif %}{% for message in messages %}"
    "{% set content = '<<SYS>>\\n' + system_message %}"
    "{{ bos_token + '[INST] ' + content.strip() + ' [/INST]' }}{% endfor %}";
const char *const kLlama3 =
    "{% for message in messages %}{{ '<|start_header_id|>' + message['role'] "
    "+ '<|end_header_id|>\\n\\n' + message['content'] | trim + '<|eot_id|>' }}"
    "{% endfor %}{{ '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}";
const char *const kLlama31 =
    "{{- bos_token }}{{- \"Cutting Knowledge Date: December 2023\\n\" }}"
    "{{- \"Today Date: \" + date_string + \"\\n\\n\" }}{{- \"<|eot_id|>\" }}"
    "{{- '<|start_header_id|>' + message['content'] | trim }}"
    "{%- if add_generation_prompt %}{%- endif %}";
const char *const kZephyr =
    "{% for message in messages %}\n{% if message['role'] == 'user' %}\n"
    "{{ '<|user|>\\n' + message['content'] + eos_token }}\n{% elif "
    "message['role'] == 'system' %}\n{{ '<|system|>\\n' + message['content'] "
    "+ eos_token }}\n{% else %}\n{{ '<|assistant|>\\n' + message['content'] + "
    "eos_token }}\n{% endif %}\n{% if loop.last and add_generation_prompt %}\n"
    "{{ '<|assistant|>' }}\n{% endif %}\n{% endfor %}";

std::string render(const char *source, std::vector<ChatMessage> messages,
                   bool prompt = true, bool thinking = true) {
  ChatOptions options;
  options.addGenerationPrompt = prompt;
  options.enableThinking = thinking;
  options.bos = "<s>";
  options.eos = "</s>";
  auto text = renderChat(recogniseChatTemplate(source), messages, options);
  return text ? *text : toText(text.takeError());
}

TEST(ChatMl, SaysTheDefaultSystemMessage) {
  EXPECT_EQ(render(kSmolLm2, {{"user", "Hi "}}),
            "<|im_start|>system\nYou are 'Smol'.<|im_end|>\n"
            "<|im_start|>user\nHi <|im_end|>\n<|im_start|>assistant\n");
  EXPECT_EQ(render(kSmolLm2, {{"system", "S"}, {"user", "U"}}, false),
            "<|im_start|>system\nS<|im_end|>\n<|im_start|>user\nU<|im_end|>\n");
}

TEST(ChatMl, PlainHasNoDefault) {
  EXPECT_EQ(render(kPlainChatMl, {{"user", "U"}, {"assistant", "A"}}, false),
            "<|im_start|>user\nU<|im_end|>\n"
            "<|im_start|>assistant\nA<|im_end|>\n");
}

TEST(Qwen3, DropsThoughtsBeforeTheLastQuestion) {
  EXPECT_EQ(render(kQwen3, {{"user", "1"},
                            {"assistant", "<think>\nhm\n</think>\n\none"},
                            {"user", "2"}}),
            "<|im_start|>user\n1<|im_end|>\n<|im_start|>assistant\none"
            "<|im_end|>\n<|im_start|>user\n2<|im_end|>\n"
            "<|im_start|>assistant\n");
  EXPECT_EQ(
      render(kQwen3,
             {{"user", "1"}, {"assistant", "<think>\nhm\n</think>\n\none"}},
             false),
      "<|im_start|>user\n1<|im_end|>\n<|im_start|>assistant\n<think>\n"
      "hm\n</think>\n\none<|im_end|>\n");
  EXPECT_EQ(render(kQwen3, {{"user", "1"}}, true, /*thinking=*/false),
            "<|im_start|>user\n1<|im_end|>\n<|im_start|>assistant\n<think>\n\n"
            "</think>\n\n");
}

TEST(Llama2, FoldsTheSystemMessageIntoTheFirstTurn) {
  EXPECT_EQ(
      render(kLlama2, {{"system", "S"}, {"user", "U "}, {"assistant", " A"}}),
      "<s>[INST] <<SYS>>\nS\n<</SYS>>\n\nU [/INST] A </s>");
  EXPECT_EQ(render(kLlama2, {{"user", "U"}, {"user", "V"}}),
            "messages: error: expected the roles user and assistant in turn "
            "after an optional system message, got 'user' where 'assistant' "
            "is due");
}

TEST(Llama3, TrimsAndAlwaysPrompts) {
  EXPECT_EQ(render(kLlama3, {{"user", " U\n"}}, /*prompt=*/false),
            "<s><|start_header_id|>user<|end_header_id|>\n\nU<|eot_id|>"
            "<|start_header_id|>assistant<|end_header_id|>\n\n");
}

TEST(Llama31, StatesTheDates) {
  EXPECT_EQ(render(kLlama31, {{"system", "S "}, {"user", "U"}}, false),
            "<s><|start_header_id|>system<|end_header_id|>\n\n"
            "Cutting Knowledge Date: December 2023\nToday Date: 26 Jul 2024"
            "\n\nS<|eot_id|><|start_header_id|>user<|end_header_id|>\n\nU"
            "<|eot_id|>");
}

TEST(Llama31, SomeAskForToday) {
  EXPECT_FALSE(recogniseChatTemplate(kLlama31).asksDate());
  std::string source = std::string(kLlama31) +
                       "{%- set date_string = strftime_now(\"%d %b %Y\") %}";
  ChatTemplate chat = recogniseChatTemplate(source);
  EXPECT_EQ(chat.family, ChatFamily::Llama31);
  EXPECT_TRUE(chat.asksDate());
}

TEST(Zephyr, EndsTurnsWithTheToken) {
  const char *expected = "<|system|>\nS</s>\n<|user|>\nU</s>\n<|assistant|>\n";
  EXPECT_EQ(render(kZephyr, {{"system", "S"}, {"user", "U"}}), expected);
  // A model's files may have line breaks in the literals.
  std::string broken = kZephyr;
  for (size_t at; (at = broken.find("\\n")) != std::string::npos;)
    broken.replace(at, 2, "\n");
  EXPECT_EQ(render(broken.c_str(), {{"system", "S"}, {"user", "U"}}), expected);
}

TEST(Errors, NameTheFamilies) {
  EXPECT_EQ(render("", {{"user", "U"}}),
            "chat template: error: expected the model to have one, found none");
  EXPECT_EQ(render("{{ messages }}", {{"user", "U"}}),
            "chat template: error: expected one of the families chatml "
            "(SmolLM2, Qwen2, Qwen2.5), qwen3, llama2, llama3, llama3.1, "
            "zephyr, found a template that is none of them");
  EXPECT_EQ(render(kSmolLm2, {}),
            "chat template: error: expected at least one message, got none");
  EXPECT_EQ(render(kSmolLm2, {{"tool", "U"}}),
            "chat template: error: expected the role 'system', 'user' or "
            "'assistant', got 'tool'");
}

// Each of these prints something that the family's renderer does not.
TEST(Recognise, RefusesWhatItDoesNotFollow) {
  auto with = [](std::string source, const std::string &from,
                 const std::string &to) {
    size_t at = source.find(from);
    EXPECT_NE(at, std::string::npos) << from;
    return recogniseChatTemplate(source.replace(at, from.size(), to)).family;
  };
  EXPECT_EQ(with(kSmolLm2, "{% endfor %}", "{% endfor %}bye"),
            ChatFamily::Unrecognised);
  EXPECT_EQ(with(kSmolLm2, "message['content'] +", "message['content']|trim +"),
            ChatFamily::Unrecognised);
  EXPECT_EQ(with(kSmolLm2, "{% for", "{{ bos_token }}{% for"),
            ChatFamily::Unrecognised);
  EXPECT_EQ(with(kQwen3, "last_query_index", "last_index"),
            ChatFamily::Unrecognised);
  EXPECT_EQ(with(kQwen3, "assistant\\n' }}", "assistant\\n<think>\\n' }}"),
            ChatFamily::Unrecognised);
  EXPECT_EQ(with(kLlama2, "messages[0]['content'] %}", "'Be kind' %}"),
            ChatFamily::Unrecognised);
  EXPECT_EQ(with(kLlama31, "December", "March"), ChatFamily::Unrecognised);
  EXPECT_EQ(with(kZephyr, "eos_token }}\n", "eos_token }}"),
            ChatFamily::Unrecognised);
}

} // namespace

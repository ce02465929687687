// Small tokenizer files: what is read from them, and what is refused.

#include "frontend/tokenizer/ImportTokenizer.h"
#include "ir/support/Diagnostic.h"
#include "runtime/text/Tokenizer.h"
#include "tests/frontend/TestData.h"
#include "tests/ir/support/TemporaryFolder.h"

#include <cstring>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

using namespace moec;
using testing::HasSubstr;

namespace {

using Ids = std::vector<int32_t>;

/// A byte-level tokenizer.json; each part can be replaced.
const char *const kJson = R"({
  "version": "1.0",
  "truncation": null,
  "added_tokens": [
    {"id": 4, "content": "<s>", "special": true, "normalized": false}
  ],
  "normalizer": {"type": "NFC"},
  "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false},
  "post_processor": {"type": "TemplateProcessing",
    "single": [{"SpecialToken": {"id": "<s>"}}, {"Sequence": {"id": "A"}}],
    "special_tokens": {"<s>": {"id": "<s>", "ids": [4], "tokens": ["<s>"]}}},
  "decoder": {"type": "ByteLevel"},
  "model": {"type": "BPE", "vocab": {"a": 0, "b": 1, "ab": 2, "Ġ": 3},
            "merges": ["a b"]}
})";

std::string with(std::string text, const std::string &from,
                 const std::string &to) {
  size_t at = text.find(from);
  EXPECT_NE(at, std::string::npos) << from;
  return at == std::string::npos ? text : text.replace(at, from.size(), to);
}

std::string importError(const std::string &path) {
  auto asset = importTokenizer(path);
  return asset ? std::string("no error") : toText(asset.takeError());
}

/// The error for kJson with one part replaced, without the path's folder.
std::string jsonError(const std::string &from, const std::string &to) {
  TemporaryFolder folder;
  std::string path = folder.write("tokenizer.json", with(kJson, from, to));
  std::string message = importError(path);
  size_t name = message.find("tokenizer.json");
  return name == std::string::npos ? message : message.substr(name);
}

Ids encodeWith(const std::string &path, llvm::StringRef text) {
  auto asset = importTokenizer(path);
  if (!asset) {
    ADD_FAILURE() << toText(asset.takeError());
    return {};
  }
  auto tokenizer = Tokenizer::create(std::move(*asset), path);
  if (!tokenizer) {
    ADD_FAILURE() << toText(tokenizer.takeError());
    return {};
  }
  auto ids = (*tokenizer)->encode(text);
  return ids ? *ids : Ids{-1};
}

TEST(Json, Imports) {
  TemporaryFolder folder;
  std::string path = folder.write("tokenizer.json", kJson);
  EXPECT_EQ(encodeWith(path, "ab ba<s>"), (Ids{4, 2, 3, 1, 0, 4}));
  EXPECT_EQ(encodeWith(folder.path(), "ab"), (Ids{4, 2}));
}

TEST(Json, EveryTruncationIsAnError) {
  TemporaryFolder folder;
  llvm::StringRef whole(kJson);
  for (size_t size = 0; size < whole.size(); size += 3) {
    std::string path = folder.write("t.json", whole.take_front(size));
    EXPECT_THAT(importError(path), HasSubstr("error: ")) << size;
  }
}

TEST(Json, UnsupportedComponentsAreNamed) {
  EXPECT_THAT(jsonError("\"BPE\"", "\"WordPiece\""),
              HasSubstr("tokenizer.json:13:21: error: expected the model type "
                        "'BPE', which is all that is supported, got the string "
                        "'WordPiece'"));
  EXPECT_THAT(jsonError("\"NFC\"", "\"BertNormalizer\""),
              HasSubstr("error: the normalizer 'BertNormalizer' is not "
                        "supported, expected one of NFC"));
  EXPECT_THAT(jsonError("\"type\": \"ByteLevel\", \"add_prefix_space\": false",
                        "\"type\": \"Whitespace\""),
              HasSubstr("the pre-tokenizer 'Whitespace' is not supported"));
  EXPECT_THAT(jsonError("\"TemplateProcessing\"", "\"BertProcessing\""),
              HasSubstr("the post-processor 'BertProcessing' is not"));
  EXPECT_THAT(jsonError("\"decoder\": {\"type\": \"ByteLevel\"}",
                        "\"decoder\": {\"type\": \"CTC\"}"),
              HasSubstr("the decoder 'CTC' is not supported"));
  EXPECT_THAT(
      jsonError("\"type\": \"BPE\"", "\"type\": \"BPE\", \"dropout\": 0.1"),
      HasSubstr("expected the model's 'dropout' to be unset"));
  EXPECT_THAT(
      jsonError("\"type\": \"BPE\"",
                "\"type\": \"BPE\", \"end_of_word_suffix\": \"</w>\""),
      HasSubstr("expected the model's 'end_of_word_suffix' to be unset, which "
                "is all that is supported, got the string '</w>'"));
}

TEST(Json, BadPartsAreLocated) {
  EXPECT_THAT(jsonError("\"ab\": 2", "\"ab\": 1"),
              HasSubstr("tokenizer.json:13:60: error: expected every piece to "
                        "have its own id, got 1 for both 'b' and 'ab'"));
  EXPECT_THAT(jsonError("\"ab\": 2", "\"ab\": -2"),
              HasSubstr("expected an id in [0, 4194304), got -2"));
  EXPECT_THAT(jsonError("\"ab\": 2", "\"ab\": 4000000"),
              HasSubstr("expected an id below 65546 in a vocabulary of 5 "
                        "entries, got 4000000"));
  EXPECT_THAT(jsonError("\"ab\": 2", "\"ab\": \"2\""),
              HasSubstr("got the string '2'"));
  EXPECT_THAT(jsonError("[\"a b\"]", "[\"a b\", \"b c\"]"),
              HasSubstr("tokenizer.json:14:31: error: expected a merge of two "
                        "pieces of the vocabulary into a third, got 'b' and "
                        "'c', and 'c' is no piece"));
  EXPECT_THAT(jsonError("[\"a b\"]", "[\"a  b\"]"),
              HasSubstr("expected a merge as two pieces with a space"));
  EXPECT_THAT(jsonError("[\"a b\"]", "[[\"a\"]]"),
              HasSubstr("expected a merge as 'left right' or as two strings"));
  EXPECT_THAT(jsonError("[\"a b\"]", "7"),
              HasSubstr("expected 'merges' to be an array, got 7"));
  EXPECT_THAT(
      jsonError("\"type\": \"BPE\"", "\"type\": \"BPE\", \"unk_token\": \"?\""),
      HasSubstr("expected 'unk_token' to be a piece of the vocabulary, "
                "got '?'"));
  EXPECT_THAT(jsonError("\"id\": 4", "\"id\": 2"),
              HasSubstr("expected an id that is free for '<s>', got 2, which "
                        "is 'ab'"));
  EXPECT_THAT(jsonError("\"id\": 4, \"content\": \"<s>\"",
                        "\"id\": 4, \"content\": \"ab\""),
              HasSubstr("expected the id 2 that the vocabulary gives 'ab', got "
                        "4"));
  EXPECT_THAT(jsonError("\"content\": \"<s>\"", "\"content\": \"\""),
              HasSubstr("expected an added token to have a text"));
  EXPECT_THAT(jsonError("\"special\": true", "\"special\": 1"),
              HasSubstr("expected 'special' to be true or false, got 1"));
  EXPECT_THAT(jsonError("\"ids\": [4]", "\"ids\": [44]"),
              HasSubstr("expected ids in [0, 5), got 44"));
  EXPECT_THAT(jsonError("{\"Sequence\": {\"id\": \"A\"}}",
                        "{\"SpecialToken\": {\"id\": \"</s>\"}}"),
              HasSubstr("expected 'special_tokens' to give the ids of '</s>'"));
  EXPECT_THAT(jsonError(", {\"Sequence\": {\"id\": \"A\"}}", ""),
              HasSubstr("expected the text in the template"));
}

TEST(Json, SplitsAreChecked) {
  const std::string from =
      "{\"type\": \"ByteLevel\", \"add_prefix_space\": false}";
  auto split = [](const std::string &members) {
    return "{\"type\": \"Sequence\", \"pretokenizers\": [{\"type\": "
           "\"Split\"" +
           members + "}, {\"type\": \"ByteLevel\"}]}";
  };
  EXPECT_EQ(jsonError(from, split(", \"pattern\": {\"Regex\": \"a+\"}, "
                                  "\"behavior\": \"Isolated\"")),
            "no error");
  EXPECT_THAT(jsonError(from, split(", \"pattern\": {\"Regex\": \"a+\"}, "
                                    "\"behavior\": \"Kept\"")),
              HasSubstr("got 'Kept'"));
  EXPECT_THAT(jsonError(from, split(", \"pattern\": {\"Glob\": \"a+\"}, "
                                    "\"behavior\": \"Isolated\"")),
              HasSubstr("expected 'pattern' to be an object with a string "
                        "'String' or 'Regex'"));
  EXPECT_THAT(jsonError(from, split(", \"pattern\": {\"String\": \"\"}, "
                                    "\"behavior\": \"Isolated\"")),
              HasSubstr("expected a pattern that looks for something"));
  EXPECT_THAT(jsonError(from, "{\"type\": \"Sequence\"}"),
              HasSubstr("expected a Sequence to have an array "
                        "'pretokenizers'"));
  EXPECT_THAT(jsonError(from, "{\"type\": \"Sequence\", \"pretokenizers\": "
                              "[{\"type\": \"ByteLevel\"}, {\"type\": "
                              "\"Digits\"}]}"),
              HasSubstr("expected no pre-tokenizer after ByteLevel, got "
                        "'Digits'"));
}

TEST(Json, TheConfigurationBesideItCounts) {
  TemporaryFolder folder;
  folder.write("tokenizer.json", kJson);
  folder.write("tokenizer_config.json",
               R"({"bos_token": {"content": "<s>"}, "eos_token": "b",
                   "model_max_length": 512, "chat_template": "{{ x }}"})");
  folder.write("generation_config.json", R"({"eos_token_id": [0, 1]})");
  auto asset = importTokenizer(folder.path());
  ASSERT_TRUE(bool(asset)) << toText(asset.takeError());
  EXPECT_EQ(asset->bos, 4);
  EXPECT_EQ(asset->eos, 1);
  EXPECT_EQ(asset->stopIds, (Ids{1, 0}));
  EXPECT_EQ(asset->contextHint, 512u);
  EXPECT_EQ(asset->chat.family, ChatFamily::Unrecognised);
  EXPECT_EQ(asset->chat.source, "{{ x }}");

  folder.write("tokenizer_config.json", R"({"eos_token": "nope"})");
  EXPECT_THAT(importError(folder.path()),
              HasSubstr("tokenizer_config.json:1:15: error: expected "
                        "'eos_token' to be a token of the vocabulary, got "
                        "'nope'"));
  folder.write("tokenizer_config.json", R"({"eos_token": 3})");
  EXPECT_THAT(importError(folder.path()),
              HasSubstr("expected 'eos_token' to be a string or an object"));
  folder.write("tokenizer_config.json", R"({"chat_template": [{"a": 1}]})");
  EXPECT_THAT(importError(folder.path()),
              HasSubstr("expected 'chat_template' to be a string or a list"));
  folder.write("tokenizer_config.json", "[]");
  EXPECT_THAT(importError(folder.path()), HasSubstr("expected an object"));
  folder.write("tokenizer_config.json", "{}");
  folder.write("generation_config.json", R"({"eos_token_id": 77})");
  EXPECT_THAT(importError(folder.path()),
              HasSubstr("expected an id below the vocabulary's size 5, got "
                        "77"));
}

TEST(Gpt2, BadFilesAreLocated) {
  TemporaryFolder folder;
  folder.write("vocab.json", R"({"a": 0, "b": 1, "ab": 2})");
  EXPECT_THAT(importError(folder.path()),
              HasSubstr("merges.txt: error: cannot be read"));
  folder.write("merges.txt", "#version: 0.2\na b\n");
  EXPECT_EQ(encodeWith(folder.path(), "abb"), (Ids{2, 1}));
  EXPECT_EQ(encodeWith(folder.file("merges.txt"), "abb"), (Ids{2, 1}));
  folder.write("merges.txt", "a b\nb a\n");
  EXPECT_THAT(importError(folder.path()),
              HasSubstr("merges.txt:2:1: error: expected a merge of two"));
  folder.write("merges.txt", "a b c\n");
  EXPECT_THAT(importError(folder.path()), HasSubstr("merges.txt:1:1: error"));
  folder.write("merges.txt", "");
  folder.write("vocab.json", R"({"a": 0, "b": 3})");
  EXPECT_THAT(importError(folder.path()),
              HasSubstr("vocab.json:1:15: error: expected ids from 0 to 1, "
                        "each once, got 3 for 'b'"));
}

/// llama2.c's form of a vocabulary of 256 bytes and three letters.
std::string llama2cFile() {
  std::string file("\x06\0\0\0", 4);
  auto add = [&](float score, llvm::StringRef text) {
    uint32_t length = uint32_t(text.size());
    file.append(reinterpret_cast<const char *>(&score), 4);
    file.append(reinterpret_cast<const char *>(&length), 4);
    file += text;
  };
  for (const char *text : {"<unk>", "\n<s>\n", "\n</s>"})
    add(0, text);
  for (unsigned byte = 0; byte < 256; ++byte) {
    char text[8];
    std::snprintf(text, sizeof(text), "<0x%02X>", byte);
    add(0, text);
  }
  for (const char *text : {" ", "a", " a"})
    add(-1, text);
  return file;
}

TEST(Llama2c, Imports) {
  TemporaryFolder folder;
  std::string path = folder.write("tokenizer.bin", llama2cFile());
  EXPECT_EQ(encodeWith(path, "a!"), (Ids{1, 261, 3 + '!'}));
  EXPECT_EQ(encodeWith(folder.path(), "a a"), (Ids{1, 261, 261}));
}

TEST(Llama2c, BadFilesAreLocated) {
  TemporaryFolder folder;
  const std::string whole = llama2cFile();
  auto message = [&](const std::string &bytes) {
    std::string text = importError(folder.write("t.bin", bytes));
    size_t name = text.find("t.bin");
    return name == std::string::npos ? text : text.substr(name);
  };
  // The file does not say how many pieces it has, so the ends of the last two
  // are ends of the file as good as any.
  const size_t secondLast = whole.size() - 10, thirdLast = secondLast - 9;
  for (size_t size = 0; size < whole.size(); size += size < 40 ? 1 : 7)
    if (size != secondLast && size != thirdLast)
      EXPECT_THAT(message(whole.substr(0, size)), HasSubstr("error: expected"))
          << size;
  auto patched = [&](size_t at, uint32_t value) {
    std::string bytes = whole;
    std::memcpy(bytes.data() + at, &value, 4);
    return message(bytes);
  };
  EXPECT_EQ(patched(8, 7), "t.bin: at byte 8: error: expected piece 0 to have "
                           "at most 6 bytes, got 7");
  EXPECT_THAT(patched(8, 0xFFFFFFFF), HasSubstr("got 4294967295"));
  EXPECT_THAT(patched(4, 0x7FC00000), HasSubstr("finite score, got nan"));
  EXPECT_THAT(patched(0, 0), HasSubstr("expected the longest piece to have 1 "
                                       "to 65536 bytes, got 0"));
  std::string bytes = with(whole, "<0x41>", "<0x42>");
  EXPECT_THAT(message(bytes), HasSubstr("expected piece 68 to be the byte 65"));
}

TEST(SentencePiece, BadFilesAreLocated) {
  TemporaryFolder folder;
  auto message = [&](llvm::StringRef bytes) {
    std::string text = importError(folder.write("t.model", bytes));
    size_t name = text.find("t.model");
    return name == std::string::npos ? text : text.substr(name);
  };
  EXPECT_THAT(message("\n\x05"), HasSubstr("t.model: at byte 2: error: "
                                           "expected 5 more bytes"));
  EXPECT_THAT(message("\n\x03\n\x01"
                      "a"),
              HasSubstr("which the library refuses"));
  EXPECT_THAT(message("\n\x01\x0B"), HasSubstr("got the wire type 3"));
  EXPECT_THAT(message(std::string("\n\x03\n\x01"
                                  "a\x12\x02\x18\x03",
                                  9)),
              HasSubstr("of type unigram (1) or BPE (2), got type 3"));
  EXPECT_THAT(message("\n\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\x01"),
              HasSubstr("expected a number of at most 64 bits"));
}

TEST(SentencePiece, EveryTruncationIsAnError) {
  MOEC_REQUIRE_TEST_DATA();
  TemporaryFolder folder;
  std::string whole = testFile("tokenizers/llama2/tokenizer.model");
  for (size_t size = 1; size < whole.size(); size += 49999) {
    std::string path =
        folder.write("t.model", llvm::StringRef(whole).take_front(size));
    EXPECT_THAT(importError(path), HasSubstr("error: ")) << size;
  }
}

TEST(Import, WhatIsNoTokenizerIsAnError) {
  TemporaryFolder folder;
  EXPECT_THAT(importError(folder.file("missing.json")),
              HasSubstr("missing.json: error: cannot be read"));
  EXPECT_THAT(importError(folder.path()),
              HasSubstr("expected a folder with tokenizer.json"));
  EXPECT_THAT(importError(folder.write("empty", "")),
              HasSubstr("error: expected a tokenizer"));
  EXPECT_THAT(importError(folder.write("text", "hello, world")),
              HasSubstr("error: expected a tokenizer"));
  EXPECT_THAT(importError(folder.write("stored", "MOECTOK?")),
              HasSubstr("expected a tokenizer asset"));
}

TEST(Import, AStoredAssetIsATokenizer) {
  TemporaryFolder folder;
  auto asset = importTokenizer(folder.write("tokenizer.json", kJson));
  ASSERT_TRUE(bool(asset)) << toText(asset.takeError());
  std::string path = folder.write("asset", serialize(*asset));
  auto again = importTokenizer(path);
  ASSERT_TRUE(bool(again)) << toText(again.takeError());
  EXPECT_EQ(*again, *asset);
}

} // namespace

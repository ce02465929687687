#include "runtime/text/TokenizerAsset.h"

#include "ir/support/Diagnostic.h"
#include "runtime/text/Tokenizer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

using namespace moec;
using testing::HasSubstr;

namespace {

/// An asset in which every field is set, and that still makes a tokenizer.
TokenizerAsset fullAsset() {
  TokenizerAsset asset;
  asset.kind = TokenizerKind::MetaspaceBpe;
  asset.pieces = {
      {"<unk>", 0, PieceType::Unknown},     {"<s>", 0, PieceType::Control},
      {"</s>", 0, PieceType::Control},      {"<0x41>", -1.5f, PieceType::Byte},
      {"a", -2, PieceType::Normal},         {"b", -3, PieceType::Normal},
      {"ab", -4, PieceType::Normal},        {"", 0, PieceType::Unused},
      {"<user>", 0, PieceType::UserDefined}};
  asset.merges = {{4, 5, 6}};
  asset.byteFallback = asset.fuseUnknown = asset.ignoreMerges = true;
  asset.normalizer = {
      {NormalizerStep::Kind::Nfkc, "", "", 0},
      {NormalizerStep::Kind::ReplaceRegex, "x+", "a", 0},
      {NormalizerStep::Kind::SentencePiece, "", "", kEscapeSpaces}};
  PreTokenizerStep split;
  split.kind = PreTokenizerStep::Kind::SplitRegex;
  split.pattern = "\\s+";
  split.behavior = SplitBehavior::MergedWithNext;
  split.invert = true;
  PreTokenizerStep metaspace;
  metaspace.kind = PreTokenizerStep::Kind::Metaspace;
  metaspace.pattern = "_";
  metaspace.prepend = PreTokenizerStep::Prepend::First;
  asset.preTokenizer = {split, metaspace};
  asset.added = {{1, "<s>", true, false, false, false, false},
                 {8, "<user>", false, true, true, true, true}};
  asset.bos = 1;
  asset.eos = 2;
  asset.unknown = 0;
  asset.pad = -1;
  asset.stopIds = {2, 8};
  asset.prefixIds = {1};
  asset.suffixIds = {2};
  asset.decoder = {{{"_", " "}}, true, true, true, " ", 3, "-", "?"};
  asset.chat = {ChatFamily::ChatMl, "source", "system", true, true};
  asset.contextHint = 8192;
  return asset;
}

std::string readError(llvm::StringRef blob) {
  auto asset = deserializeTokenizer(blob, "blob");
  if (asset)
    return "no error";
  return toText(asset.takeError());
}

TEST(TokenizerAsset, RoundTrips) {
  TokenizerAsset asset = fullAsset();
  auto read = deserializeTokenizer(serialize(asset), "blob");
  ASSERT_TRUE(bool(read)) << toText(read.takeError());
  EXPECT_EQ(*read, asset);
  EXPECT_EQ(serialize(*read), serialize(asset));
}

// The first bytes of version 1, so that a change of the form is a decision.
TEST(TokenizerAsset, StartsAsVersionOneDoes) {
  std::string blob = serialize(fullAsset());
  EXPECT_EQ(blob.substr(0, 14), std::string("MOECTOK\0\1\0\0\0\1\7", 14));
}

TEST(TokenizerAsset, EveryTruncationIsAnError) {
  std::string blob = serialize(fullAsset());
  for (size_t size = 0; size < blob.size(); ++size)
    EXPECT_THAT(readError(llvm::StringRef(blob).take_front(size)),
                HasSubstr("blob: at byte"))
        << size;
}

TEST(TokenizerAsset, ErrorsSayWhatWasExpected) {
  EXPECT_EQ(readError("{}"), "blob: at byte 0: error: expected a tokenizer "
                             "asset, which starts with 'MOECTOK'");
  std::string newer = serialize(fullAsset());
  newer[8] = 2;
  EXPECT_EQ(readError(newer), "blob: at byte 8: error: tokenizer asset has "
                              "version 2.0, this program reads 1.x");
  std::string longer = serialize(fullAsset()) + "xyz";
  EXPECT_THAT(readError(longer),
              HasSubstr("expected the end of the tokenizer asset, got 3 more "
                        "bytes"));
  // A newer minor may say more than this program knows.
  longer[10] = 1;
  EXPECT_EQ(readError(longer), "no error");
  std::string kind = serialize(fullAsset());
  kind[12] = 9;
  EXPECT_EQ(readError(kind), "blob: at byte 12: error: expected the "
                             "tokenizer's kind in [0, 3], got 9");
  // The number of pieces, far beyond what the rest can hold.
  std::string huge = serialize(fullAsset()).substr(0, 14) +
                     std::string("\xFF\xFF\xFF\xFF\x0F", 5);
  EXPECT_EQ(readError(huge),
            "blob: at byte 19: error: expected at most 0 pieces, which is "
            "what the rest of the asset can hold, got 4294967295");
  std::string wide = huge;
  wide[18] = '\x7F';
  EXPECT_THAT(readError(wide), HasSubstr("expected a number of 32 bits"));
}

TEST(TokenizerAsset, EveryFlippedByteIsReadOrRefused) {
  // Whatever is read must also survive being used.
  std::string blob = serialize(fullAsset());
  for (size_t at = 12; at < blob.size(); ++at)
    for (unsigned flip : {0x01u, 0x80u, 0xFFu}) {
      std::string changed = blob;
      changed[at] = char(uint8_t(changed[at]) ^ flip);
      auto tokenizer = Tokenizer::load(changed, "blob");
      if (!tokenizer) {
        EXPECT_NE(toText(tokenizer.takeError()), "");
        continue;
      }
      auto ids = (*tokenizer)->encode("ab <user> abA\xFFxx<s>");
      if (ids)
        (void)(*tokenizer)->decode(*ids);
      else
        EXPECT_NE(toText(ids.takeError()), "");
    }
}

TEST(TokenizerAsset, IdsOutsideTheVocabularyAreErrors) {
  auto message = [](auto change) {
    TokenizerAsset asset = fullAsset();
    change(asset);
    return readError(serialize(asset));
  };
  EXPECT_EQ(message([](TokenizerAsset &a) { a.merges[0].right = 9; }),
            "blob: merge 0: error: expected ids below 9, got 4, 9 and 6");
  EXPECT_EQ(message([](TokenizerAsset &a) { a.added[1].id = 9; }),
            "blob: added token 1: error: expected an id in [0, 9), got 9");
  EXPECT_EQ(message([](TokenizerAsset &a) { a.added[1].content = ""; }),
            "blob: added token 1: error: expected 1 to 4096 bytes of text, got "
            "0");
  EXPECT_EQ(message([](TokenizerAsset &a) { a.bos = 70; }),
            "blob: bos: error: expected an id in [-1, 9), got 70");
  EXPECT_EQ(message([](TokenizerAsset &a) { a.stopIds = {9}; }),
            "blob: special ids: error: expected ids in [0, 9), got 9");
  EXPECT_EQ(message([](TokenizerAsset &a) { a.pieces[3].text = "A"; }),
            "blob: piece 3: error: expected a byte piece spelled '<0x00>' to "
            "'<0xFF>', got 'A'");
  EXPECT_THAT(message([](TokenizerAsset &a) {
                a.pieces[4].score = std::numeric_limits<float>::infinity();
              }),
              HasSubstr("blob: piece 4: error: expected a finite score"));
  EXPECT_EQ(message([](TokenizerAsset &a) { a.pieces[4].text.resize(5000); }),
            "blob: piece 4: error: expected at most 4096 bytes, got 5000");
  EXPECT_EQ(message([](TokenizerAsset &a) { a.decoder.replace[0].to = "aa"; }),
            "blob: decoder: error: expected replacements no longer than what "
            "they replace, got 'aa' for '_'");
  EXPECT_EQ(message([](TokenizerAsset &a) { a.decoder.unknown.resize(65); }),
            "blob: decoder: error: expected texts of at most 64 bytes, got 65");
  // What is put into a text, or cut out of it, must leave it UTF-8.
  EXPECT_EQ(message([](TokenizerAsset &a) { a.normalizer[1].text = "\xFA"; }),
            "blob: normalizer step 1: error: expected UTF-8, got "
            "'\xEF\xBF\xBD'");
  EXPECT_THAT(message([](TokenizerAsset &a) { a.added[0].content = "\xFA"; }),
              HasSubstr("blob: added token 0: error: expected UTF-8"));
  EXPECT_THAT(
      message([](TokenizerAsset &a) { a.preTokenizer[1].pattern = "\xFA"; }),
      HasSubstr("blob: pre-tokenizer step 1: error: expected UTF-8"));
  EXPECT_THAT(message([](TokenizerAsset &a) { a.pieces[8].text = "\xFA"; }),
              HasSubstr("blob: piece 8: error: expected UTF-8"));
  EXPECT_THAT(message([](TokenizerAsset &a) { a.pieces.clear(); }),
              HasSubstr("blob: vocabulary: error: has 0 pieces"));
}

TEST(TokenizerAsset, ExpressionsAreChecked) {
  auto message = [](const char *pattern) {
    TokenizerAsset asset = fullAsset();
    asset.preTokenizer[0].pattern = pattern;
    auto tokenizer = Tokenizer::create(asset, "blob");
    return tokenizer ? std::string("no error") : toText(tokenizer.takeError());
  };
  EXPECT_EQ(message("(a"),
            "blob: error: expected a regular expression, got '(a': missing "
            "closing parenthesis at offset 2");
  EXPECT_THAT(message("[a[b]]"), HasSubstr("expected no nested set"));
  EXPECT_THAT(message("[a-z&&b]"), HasSubstr("expected no nested set"));
  EXPECT_THAT(message("\\C"), HasSubstr("expected a regular expression"));
  EXPECT_THAT(message(""), HasSubstr("got an empty pattern"));
  EXPECT_THAT(message(std::string(70000, 'a').c_str()),
              HasSubstr("expected an expression of at most 65536 bytes"));
}

TEST(TokenizerAsset, ANormalizerThatExplodesIsAnError) {
  TokenizerAsset asset = fullAsset();
  asset.normalizer.assign(60,
                          {NormalizerStep::Kind::ReplaceLiteral, "a", "aa", 0});
  auto tokenizer = Tokenizer::create(asset, "blob");
  ASSERT_TRUE(bool(tokenizer)) << toText(tokenizer.takeError());
  auto ids = (*tokenizer)->encode("ab");
  ASSERT_FALSE(bool(ids));
  EXPECT_EQ(toText(ids.takeError()),
            "error: expected the tokenizer's normalizer to give at most 65664 "
            "bytes for this text, got more");
}

TEST(TokenizerAsset, AnExpressionThatRunsAwayIsAnError) {
  TokenizerAsset asset = fullAsset();
  asset.normalizer.clear();
  asset.preTokenizer.resize(1);
  asset.preTokenizer[0].pattern = "(a+a+)+b";
  auto tokenizer = Tokenizer::create(asset, "blob");
  ASSERT_TRUE(bool(tokenizer)) << toText(tokenizer.takeError());
  auto ids = (*tokenizer)->encode(std::string(64, 'a') + "cb");
  ASSERT_FALSE(bool(ids));
  EXPECT_THAT(toText(ids.takeError()), HasSubstr("cannot split this text"));
}

} // namespace

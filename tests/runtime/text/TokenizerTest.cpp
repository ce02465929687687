// Small vocabularies, each made to show one rule of encoding.

#include "runtime/text/Tokenizer.h"

#include "ir/support/Diagnostic.h"
#include "llvm/ADT/STLExtras.h"

#include <chrono>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

using namespace moec;

namespace {

using Ids = std::vector<int32_t>;

std::unique_ptr<Tokenizer> build(TokenizerAsset asset) {
  auto tokenizer = Tokenizer::create(std::move(asset), "test");
  if (tokenizer)
    return std::move(*tokenizer);
  ADD_FAILURE() << toText(tokenizer.takeError());
  return nullptr;
}

Ids encode(const Tokenizer &tokenizer, llvm::StringRef text,
           EncodeOptions options = {}) {
  auto ids = tokenizer.encode(text, options);
  if (ids)
    return *ids;
  ADD_FAILURE() << toText(ids.takeError());
  return {};
}

/// A vocabulary of the letters a, b and c, then the results of `merges`.
TokenizerAsset
letters(TokenizerKind kind,
        std::initializer_list<std::pair<const char *, const char *>> merges) {
  TokenizerAsset asset;
  asset.kind = kind;
  for (const char *text : {"a", "b", "c"})
    asset.pieces.push_back({text, 0, PieceType::Normal});
  auto find = [&](llvm::StringRef text) {
    for (auto [id, piece] : llvm::enumerate(asset.pieces))
      if (piece.text == text)
        return uint32_t(id);
    asset.pieces.push_back({text.str(), 0, PieceType::Normal});
    return uint32_t(asset.pieces.size() - 1);
  };
  for (auto [left, right] : merges) {
    uint32_t leftId = find(left), rightId = find(right);
    asset.merges.push_back({leftId, rightId, find(std::string(left) + right)});
  }
  return asset;
}

int32_t addSpecial(TokenizerAsset &asset, const char *text,
                   bool special = true) {
  AddedToken token;
  token.id = int32_t(asset.pieces.size());
  token.content = text;
  token.special = special;
  asset.pieces.push_back(
      {text, 0, special ? PieceType::Control : PieceType::UserDefined});
  asset.added.push_back(token);
  return token.id;
}

TEST(Merging, LowestRankThenLeftmost) {
  auto tokenizer = build(letters(TokenizerKind::ByteLevelBpe,
                                 {{"b", "c"}, {"a", "b"}, {"a", "a"}}));
  // 3 is bc, 4 is ab, 5 is aa.
  EXPECT_EQ(encode(*tokenizer, "abc"), (Ids{0, 3}));
  EXPECT_EQ(encode(*tokenizer, "abab"), (Ids{4, 4}));
  EXPECT_EQ(encode(*tokenizer, "aaa"), (Ids{5, 0}));
}

/// Merges by looking through the whole word each time.
Ids mergeSlowly(const TokenizerAsset &asset, llvm::StringRef word) {
  Ids ids;
  for (char c : word)
    ids.push_back(c - 'a');
  for (;;) {
    size_t best = asset.merges.size(), at = 0;
    for (size_t i = 0; i + 1 < ids.size(); ++i)
      for (size_t rank = 0; rank < best; ++rank)
        if (asset.merges[rank].left == uint32_t(ids[i]) &&
            asset.merges[rank].right == uint32_t(ids[i + 1])) {
          best = rank;
          at = i;
        }
    if (best == asset.merges.size())
      return ids;
    ids[at] = int32_t(asset.merges[best].result);
    ids.erase(ids.begin() + at + 1);
  }
}

TEST(Merging, ShortAndLongWordsAgreeWithTheDefinition) {
  for (TokenizerKind kind :
       {TokenizerKind::ByteLevelBpe, TokenizerKind::MetaspaceBpe}) {
    TokenizerAsset asset = letters(kind, {{"a", "b"},
                                          {"b", "a"},
                                          {"a", "a"},
                                          {"aa", "b"},
                                          {"ab", "c"},
                                          {"ab", "ab"},
                                          {"ba", "aa"},
                                          {"c", "aa"}});
    asset.unknown = 0;
    auto tokenizer = build(asset);
    uint64_t state = 5;
    for (size_t length = 1; length < 120; ++length) {
      std::string word;
      for (size_t i = 0; i < length; ++i) {
        state = state * 6364136223846793005ull + 1442695040888963407ull;
        word += char('a' + (state >> 40) % 3);
      }
      EXPECT_EQ(encode(*tokenizer, word), mergeSlowly(asset, word)) << word;
    }
  }
}

TEST(Merging, AMegabyteOfOneWordIsNotQuadratic) {
  auto tokenizer = build(letters(TokenizerKind::ByteLevelBpe,
                                 {{"a", "a"}, {"aa", "aa"}, {"a", "b"}}));
  auto start = std::chrono::steady_clock::now();
  EXPECT_EQ(encode(*tokenizer, std::string(1 << 20, 'a')).size(), 1u << 18);
  // A quadratic algorithm takes hours; the bound leaves room for sanitizers.
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(60));
}

TEST(Merging, WholeWordsFirstWhereMergesAreIgnored) {
  TokenizerAsset asset =
      letters(TokenizerKind::ByteLevelBpe, {{"a", "b"}, {"b", "c"}});
  asset.pieces.push_back({"abc", 0, PieceType::Normal});
  EXPECT_EQ(encode(*build(asset), "abc"), (Ids{3, 2}));
  asset.ignoreMerges = true;
  EXPECT_EQ(encode(*build(asset), "abc"), (Ids{5}));
}

TEST(Unknown, FusesOrNot) {
  TokenizerAsset asset = letters(TokenizerKind::MetaspaceBpe, {{"a", "b"}});
  EXPECT_EQ(encode(*build(asset), "axyb"), (Ids{3})) << "no unknown piece";
  asset.unknown = 2;
  EXPECT_EQ(encode(*build(asset), "axyb"), (Ids{0, 2, 2, 1}));
  asset.fuseUnknown = true;
  EXPECT_EQ(encode(*build(asset), "axyb"), (Ids{0, 2, 1}));
}

TEST(Unknown, BecomesBytesWhereAllOfThemArePieces) {
  TokenizerAsset asset = letters(TokenizerKind::MetaspaceBpe, {});
  asset.unknown = 2;
  asset.byteFallback = true;
  asset.pieces.push_back({"<0xC3>", 0, PieceType::Byte});
  asset.pieces.push_back({"<0xA9>", 0, PieceType::Byte});
  asset.decoder.byteFallback = true;
  auto tokenizer = build(asset);
  EXPECT_EQ(encode(*tokenizer, "a\xC3\xA9\xC3\xA8"), (Ids{0, 3, 4, 2}));
  EXPECT_EQ(tokenizer->decode({0, 3, 4}), "a\xC3\xA9");
  EXPECT_EQ(tokenizer->decode({3, 0}), "\xEF\xBF\xBD"
                                       "a");
}

TEST(Scores, BestPairMergesFirst) {
  TokenizerAsset asset = letters(TokenizerKind::ScoreBpe, {});
  asset.pieces.push_back({"ab", -2, PieceType::Normal});
  asset.pieces.push_back({"bc", -1, PieceType::Normal});
  asset.pieces.push_back({"bcc", -1, PieceType::Normal});
  EXPECT_EQ(encode(*build(asset), "abc"), (Ids{0, 4}));
  EXPECT_EQ(encode(*build(asset), "abcc"), (Ids{0, 5}));
}

TEST(Scores, ACharacterThatIsNoPieceStillMerges) {
  TokenizerAsset asset = letters(TokenizerKind::ScoreBpe, {});
  asset.pieces.push_back({"xa", -1, PieceType::Normal});
  asset.unknown = 2;
  EXPECT_EQ(encode(*build(asset), "xax"), (Ids{3, 2}));
}

TEST(Scores, UnusedPiecesComeApartAgain) {
  TokenizerAsset asset = letters(TokenizerKind::ScoreBpe, {});
  asset.pieces.push_back({"ab", -1, PieceType::Unused});
  asset.pieces.push_back({"abc", -2, PieceType::Normal});
  auto tokenizer = build(asset);
  EXPECT_EQ(encode(*tokenizer, "abab"), (Ids{0, 1, 0, 1}));
  EXPECT_EQ(encode(*tokenizer, "abcab"), (Ids{4, 0, 1}));
}

TEST(Scores, UserDefinedPiecesNeverMerge) {
  TokenizerAsset asset = letters(TokenizerKind::ScoreBpe, {});
  asset.pieces.push_back({"bc", -5, PieceType::UserDefined});
  asset.pieces.push_back({"ab", -1, PieceType::Normal});
  asset.pieces.push_back({"abc", -1, PieceType::Normal});
  EXPECT_EQ(encode(*build(asset), "abc"), (Ids{0, 3}));
}

TEST(Unigram, TakesTheLikeliestPath) {
  TokenizerAsset asset;
  asset.kind = TokenizerKind::Unigram;
  asset.pieces = {
      {"<unk>", 0, PieceType::Unknown}, {"a", -1, PieceType::Normal},
      {"b", -1, PieceType::Normal},     {"ab", -1.5f, PieceType::Normal},
      {"abab", -4, PieceType::Normal},  {"ba", -9, PieceType::UserDefined}};
  asset.unknown = 0;
  asset.fuseUnknown = true;
  // Against -3 for ab ab: a user-defined piece costs next to nothing.
  EXPECT_EQ(encode(*build(asset), "ab"), (Ids{3}));
  EXPECT_EQ(encode(*build(asset), "abab"), (Ids{1, 5, 2}));
  EXPECT_EQ(encode(*build(asset), "axyzb"), (Ids{1, 0, 2}));
}

TEST(Added, LeftmostThenLongest) {
  TokenizerAsset asset = letters(TokenizerKind::ByteLevelBpe, {});
  int32_t angle = addSpecial(asset, "<a>");
  int32_t longer = addSpecial(asset, "<a><b>");
  auto tokenizer = build(asset);
  EXPECT_EQ(encode(*tokenizer, "c<a><b>c<a>"), (Ids{2, longer, 2, angle}));
  EXPECT_EQ(tokenizer->pieceToId("<a>"), angle);
  EXPECT_EQ(tokenizer->pieceToId("nothing"), -1);
  EXPECT_TRUE(tokenizer->isSpecial(angle));
}

TEST(Added, SpecialTokensAreTextUnlessParsed) {
  TokenizerAsset asset = letters(TokenizerKind::ByteLevelBpe, {});
  int32_t special = addSpecial(asset, "ab");
  int32_t plain = addSpecial(asset, "cc", /*special=*/false);
  auto tokenizer = build(asset);
  EXPECT_EQ(encode(*tokenizer, "abcc"), (Ids{special, plain}));
  EXPECT_EQ(encode(*tokenizer, "abcc", {true, /*parseSpecial=*/false}),
            (Ids{0, 1, plain}));
}

TEST(Added, ConditionsOfATokenAreItsOwn) {
  TokenizerAsset asset = letters(TokenizerKind::ByteLevelBpe, {});
  asset.pieces.push_back({" ", 0, PieceType::Normal});
  int32_t word = addSpecial(asset, "ab", false);
  asset.added.back().singleWord = true;
  int32_t wide = addSpecial(asset, "!", false);
  asset.added.back().lstrip = asset.added.back().rstrip = true;
  auto tokenizer = build(asset);
  EXPECT_EQ(encode(*tokenizer, "ab cab ab"), (Ids{word, 3, 2, 0, 1, 3, word}));
  EXPECT_EQ(encode(*tokenizer, "a  !  b"), (Ids{0, wide, 1}));
  EXPECT_EQ(encode(*tokenizer, " ! !"), (Ids{wide, wide}));
}

TEST(Added, NormalizedTokensAreFoundInNormalizedText) {
  TokenizerAsset asset = letters(TokenizerKind::ByteLevelBpe, {});
  NormalizerStep lower;
  lower.kind = NormalizerStep::Kind::Lowercase;
  asset.normalizer = {lower};
  int32_t token = addSpecial(asset, "AB", false);
  EXPECT_EQ(encode(*build(asset), "cabAB"), (Ids{2, 0, 1, token}));
  asset.added.back().normalized = true;
  EXPECT_EQ(encode(*build(asset), "cabAB"), (Ids{2, token, token}));
}

TEST(Split, EveryBehaviour) {
  struct Case {
    SplitBehavior behavior;
    bool invert;
    const char *words;
  };
  // One word is one piece here, so ids show where the cuts are.
  const Case cases[] = {
      {SplitBehavior::Isolated, false, "a|-|-|b|-"},
      {SplitBehavior::Removed, false, "a|b"},
      {SplitBehavior::Removed, true, "-|-|-"},
      {SplitBehavior::MergedWithPrevious, false, "a-|-|b-"},
      {SplitBehavior::MergedWithNext, false, "a|-|-b|-"},
      {SplitBehavior::Contiguous, false, "a|--|b|-"},
  };
  for (const Case &c : cases) {
    TokenizerAsset asset;
    asset.kind = TokenizerKind::ByteLevelBpe;
    asset.ignoreMerges = true;
    for (const char *text : {"a", "b", "-", "a-", "-b", "b-", "--"})
      asset.pieces.push_back({text, 0, PieceType::Normal});
    PreTokenizerStep step;
    step.pattern = "-";
    step.behavior = c.behavior;
    step.invert = c.invert;
    for (auto kind : {PreTokenizerStep::Kind::SplitLiteral,
                      PreTokenizerStep::Kind::SplitRegex}) {
      step.kind = kind;
      asset.preTokenizer = {step};
      auto tokenizer = build(asset);
      std::string words;
      for (int32_t id : encode(*tokenizer, "a--b-"))
        words += (words.empty() ? "" : "|") + tokenizer->idToPiece(id).str();
      EXPECT_EQ(words, c.words);
    }
  }
}

/// Pieces for the letters, a mark for spaces and a space.
TokenizerAsset spaced(uint8_t flags) {
  TokenizerAsset asset = letters(TokenizerKind::ScoreBpe, {});
  asset.pieces.push_back({"\xE2\x96\x81", 0, PieceType::Normal});
  asset.pieces.push_back({" ", 0, PieceType::Normal});
  NormalizerStep step;
  step.kind = NormalizerStep::Kind::SentencePiece;
  step.flags = flags;
  asset.normalizer = {step};
  return asset;
}

TEST(SentencePiece, SpacesFollowTheFlags) {
  // 3 is the mark, 4 a space.
  const llvm::StringRef text = "  a  b ";
  EXPECT_EQ(encode(*build(spaced(0)), text), (Ids{4, 4, 0, 4, 4, 1, 4}));
  EXPECT_EQ(encode(*build(spaced(kEscapeSpaces)), text),
            (Ids{3, 3, 0, 3, 3, 1, 3}));
  EXPECT_EQ(encode(*build(spaced(kEscapeSpaces | kAddDummyPrefix)), text),
            (Ids{3, 3, 3, 0, 3, 3, 1, 3}));
  EXPECT_EQ(encode(*build(spaced(kEscapeSpaces | kRemoveExtraSpaces)), text),
            (Ids{0, 3, 1}));
  EXPECT_EQ(encode(*build(spaced(kEscapeSpaces | kAddDummyPrefix |
                                 kRemoveExtraSpaces | kSpaceAsSuffix)),
                   text),
            (Ids{0, 3, 1, 3}));
  EXPECT_EQ(encode(*build(spaced(kAddDummyPrefix)), ""), Ids{});
  EXPECT_EQ(encode(*build(spaced(kAddDummyPrefix | kRemoveExtraSpaces)), "  "),
            Ids{});
}

/// A character map, as SentencePiece stores it, that turns a into `to`. The
/// root's children lie at 256, and a's value beside a.
std::string mapOfA(llvm::StringRef to, uint32_t rootOffset = 256) {
  std::vector<uint32_t> units(512);
  units[0] = rootOffset << 10;
  units[256 ^ 'a'] = 1u << 10 | 1u << 8 | 'a';
  units[(256 ^ 'a') ^ 1] = 1u << 31;
  std::string map;
  auto add = [&](uint32_t value) {
    for (unsigned shift = 0; shift < 32; shift += 8)
      map += char(value >> shift & 0xFF);
  };
  add(uint32_t(units.size() * 4));
  for (uint32_t unit : units)
    add(unit);
  return map + to.str() + std::string(1, '\0');
}

TEST(SentencePiece, CharacterMapsReplace) {
  TokenizerAsset asset = spaced(kEscapeSpaces);
  asset.normalizer[0].pattern = mapOfA("bc");
  EXPECT_EQ(encode(*build(asset), "ac"), (Ids{1, 2, 2}));
  // User-defined pieces are not rewritten.
  asset.pieces.push_back({"aa", 0, PieceType::UserDefined});
  EXPECT_EQ(encode(*build(asset), "aaa"), (Ids{5, 1, 2}));
}

TEST(SentencePiece, HostileCharacterMapsAreHarmless) {
  TokenizerAsset asset = spaced(kEscapeSpaces);
  // Outside of the array, nothing is found.
  asset.normalizer[0].pattern = mapOfA("bc", 1 << 20);
  EXPECT_EQ(encode(*build(asset), "ac"), (Ids{0, 2}));
  // What the map gives need not be UTF-8.
  asset.normalizer[0].pattern = mapOfA("\xE2\x82");
  asset.unknown = 2;
  EXPECT_EQ(encode(*build(asset), "a"), (Ids{2, 2}));
  for (size_t size : {1, 3, 4, 100, 2051}) {
    asset.normalizer[0].pattern = mapOfA("b").substr(0, size);
    auto tokenizer = Tokenizer::create(asset, "test");
    ASSERT_FALSE(bool(tokenizer)) << size;
    EXPECT_THAT(toText(tokenizer.takeError()),
                testing::HasSubstr("expected a SentencePiece character map, "
                                   "got one whose "));
  }
}

TEST(Text, BadBytesAreReplacementCharacters) {
  TokenizerAsset asset = letters(TokenizerKind::MetaspaceBpe, {});
  asset.pieces.push_back({"\xEF\xBF\xBD", 0, PieceType::Normal});
  EXPECT_EQ(encode(*build(asset), "a\xFF\xFE"
                                  "b"),
            (Ids{0, 3, 3, 1}));
}

TEST(Text, AffixesOnRequest) {
  TokenizerAsset asset = letters(TokenizerKind::ByteLevelBpe, {});
  asset.prefixIds = {2};
  asset.suffixIds = {1, 1};
  auto tokenizer = build(asset);
  EXPECT_EQ(encode(*tokenizer, "a"), (Ids{2, 0, 1, 1}));
  EXPECT_EQ(encode(*tokenizer, ""), (Ids{2, 1, 1}));
  EXPECT_EQ(encode(*tokenizer, "a", {/*addSpecial=*/false, true}), (Ids{0}));
}

TEST(Decode, StripsSeparatesAndSkips) {
  TokenizerAsset asset = letters(TokenizerKind::MetaspaceBpe, {});
  asset.pieces.push_back({"_a", 0, PieceType::Normal});
  int32_t special = addSpecial(asset, "<s>");
  asset.decoder.replace = {{"_", " "}};
  asset.decoder.stripStart = " ";
  asset.decoder.stripCount = 1;
  auto tokenizer = build(asset);
  EXPECT_EQ(tokenizer->decode({special, 3, 3}), "a a");
  EXPECT_EQ(tokenizer->decode({special, 3}, {/*skipSpecial=*/false}), "<s> a");
  EXPECT_EQ(tokenizer->decode({-1, 99, 0}), "a");
  asset.decoder = {};
  asset.decoder.separator = "/";
  EXPECT_EQ(build(asset)->decode({0, 3, 1}), "a/_a/b");
}

TEST(Decode, ByteRunsAreTextOrNot) {
  TokenizerAsset asset = letters(TokenizerKind::MetaspaceBpe, {});
  asset.byteFallback = true;
  asset.pieces.push_back({"<0x41>", 0, PieceType::Byte});
  asset.pieces.push_back({"<0xFF>", 0, PieceType::Byte});
  asset.decoder.byteFallback = true;
  EXPECT_EQ(build(asset)->decode({3, 4, 0}), "A\xEF\xBF\xBD"
                                             "a");
  asset.decoder.wholeByteRuns = true;
  EXPECT_EQ(build(asset)->decode({3, 4, 0}), "\xEF\xBF\xBD\xEF\xBF\xBD"
                                             "a");
  EXPECT_EQ(build(asset)->decode({3, 0, 3}), "AaA");
}

TEST(Chat, NamesComeFromTheVocabulary) {
  TokenizerAsset asset = letters(TokenizerKind::ByteLevelBpe, {});
  asset.bos = addSpecial(asset, "<begin>");
  asset.eos = addSpecial(asset, "<end>");
  asset.chat.family = ChatFamily::Llama2;
  auto text = build(asset)->renderChat({{"user", "a"}, {"assistant", "b"}}, {});
  ASSERT_TRUE(bool(text)) << toText(text.takeError());
  EXPECT_EQ(*text, "<begin>[INST] a [/INST] b <end>");
}

} // namespace

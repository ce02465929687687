#include "ir/support/Hash.h"

#include "llvm/Support/SHA256.h"
#include "gtest/gtest.h"

#include <vector>

using namespace moec;

TEST(Hash, KnownDigest) {
  EXPECT_EQ(toHex(sha256(llvm::StringRef("abc"))),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

TEST(Hash, AgreesWithAnotherImplementation) {
  std::vector<uint8_t> bytes(700);
  for (size_t i = 0; i < bytes.size(); ++i)
    bytes[i] = uint8_t(i * 167 + i / 256);
  for (size_t length = 0; length <= bytes.size(); ++length) {
    auto part = llvm::ArrayRef<uint8_t>(bytes).take_front(length);
    Digest whole = sha256(part);
    ASSERT_EQ(whole, llvm::SHA256::hash(part)) << length;
    Sha256 pieces;
    pieces.update(part.take_front(length / 3));
    pieces.update(part.drop_front(length / 3));
    ASSERT_EQ(pieces.finish(), whole) << length;
  }
}

TEST(Hash, PiecesEqualTheWhole) {
  Sha256 hash;
  hash.update(llvm::StringRef("a"));
  hash.update(llvm::StringRef("bc"));
  EXPECT_EQ(hash.finish(), sha256(llvm::StringRef("abc")));
}

TEST(Hash, SizedStringsAreDistinct) {
  Sha256 first, second;
  first.updateSized("ab");
  first.updateSized("c");
  second.updateSized("a");
  second.updateSized("bc");
  EXPECT_NE(first.finish(), second.finish());
}

TEST(Hash, DigestTextRoundTrips) {
  Digest digest = sha256(llvm::StringRef("x"));
  EXPECT_EQ(parseDigest(toHex(digest)), digest);
  EXPECT_EQ(parseDigest("00"), std::nullopt);
  EXPECT_EQ(parseDigest(std::string(64, 'g')), std::nullopt);
}

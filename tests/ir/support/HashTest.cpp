#include "ir/support/Hash.h"

#include "gtest/gtest.h"

using namespace moec;

TEST(Hash, KnownDigest) {
  EXPECT_EQ(toHex(sha256(llvm::StringRef("abc"))),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
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

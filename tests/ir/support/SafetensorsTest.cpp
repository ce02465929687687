#include "ir/support/Safetensors.h"

#include "ir/support/Diagnostic.h"
#include "ir/support/Hash.h"
#include "ir/support/Json.h"
#include "ir/support/SafetensorsWriter.h"
#include "tests/ir/support/TemporaryFolder.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/Endian.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include <csignal>
#include <sys/wait.h>
#include <unistd.h>

using namespace moec;
using ::testing::HasSubstr;

/// A container with this header, whatever it says.
static std::string container(llvm::StringRef json, size_t dataBytes) {
  std::string file(8, '\0');
  llvm::support::endian::write64le(file.data(), json.size());
  return file + json.str() + std::string(dataBytes, 'd');
}

static llvm::Expected<SafetensorsHeader> parse(llvm::StringRef file) {
  return parseSafetensors(llvm::arrayRefFromStringRef(file), file.size(),
                          "f.safetensors");
}

static std::string parseFailure(llvm::StringRef json, size_t dataBytes) {
  auto header = parse(container(json, dataBytes));
  return header ? "(no error)" : toText(header.takeError());
}

TEST(Safetensors, ReadsEntriesAndMetadata) {
  std::string file =
      container(R"({"__metadata__":{"format":"pt"},)"
                R"("b":{"dtype":"F32","shape":[2,1],"data_offsets":[4,12]},)"
                R"("a":{"dtype":"BF16","shape":[2],"data_offsets":[0,4]},)"
                R"("e":{"dtype":"I8","shape":[0,5],"data_offsets":[4,4]}}  )",
                12);
  auto header = parse(file);
  ASSERT_TRUE(bool(header));
  EXPECT_EQ(header->metadataOf("format"), llvm::StringRef("pt"));
  EXPECT_EQ(header->metadataOf("none"), std::nullopt);
  ASSERT_EQ(header->entries.size(), 3u);
  const SafetensorsEntry *b = header->find("b");
  ASSERT_TRUE(b);
  EXPECT_EQ(b->type, ElementType::f32);
  EXPECT_EQ(b->shape, (std::vector<int64_t>{2, 1}));
  EXPECT_EQ(b->byteOffset, file.size() - 8);
  EXPECT_EQ(b->byteSize, 8u);
  EXPECT_EQ(header->find("c"), nullptr);
}

TEST(Safetensors, TruncatedFiles) {
  std::string whole =
      container(R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})", 8);
  ASSERT_TRUE(bool(parse(whole)));
  // Every prefix is refused, and none crashes.
  for (size_t length = 0; length < whole.size(); ++length) {
    auto header = parse(llvm::StringRef(whole).take_front(length));
    ASSERT_FALSE(bool(header)) << length;
    EXPECT_THAT(toText(header.takeError()),
                HasSubstr("f.safetensors: at byte"));
  }
}

TEST(Safetensors, HostileHeaderLengths) {
  auto huge = parse(std::string(8, '\xff') + "{}");
  ASSERT_FALSE(bool(huge));
  EXPECT_THAT(toText(huge.takeError()), HasSubstr("at most 100000000 bytes"));
  std::string longer = container("{}", 0);
  longer[0] = 100;
  auto past = parse(longer);
  ASSERT_FALSE(bool(past));
  EXPECT_THAT(toText(past.takeError()),
              HasSubstr("the header needs 100 bytes, but the file has only 2"));
}

TEST(Safetensors, ErrorsNameTensorExpectedAndFound) {
  EXPECT_EQ(
      parseFailure(R"({"w":{"dtype":"F32","shape":[2],"data_offsets":[0,4]}})",
                   4),
      "f.safetensors: at byte 55: tensor 'w': error: shape [2] of f32 needs 8 "
      "bytes, but 'data_offsets' spans 4");
  EXPECT_THAT(
      parseFailure(R"({"w":{"dtype":"F4","shape":[2],"data_offsets":[0,4]}})",
                   4),
      HasSubstr("as 'dtype', found the string 'F4'"));
  EXPECT_THAT(
      parseFailure(R"({"w":{"dtype":3,"shape":[2],"data_offsets":[0,4]}})", 4),
      HasSubstr("found 3"));
  EXPECT_THAT(parseFailure(R"({"w":{"shape":[2],"data_offsets":[0,4]}})", 4),
              HasSubstr("expected the field 'dtype', found none"));
  EXPECT_THAT(parseFailure(R"({"w":{"dtype":"F32","data_offsets":[0,4]}})", 4),
              HasSubstr("expected the field 'shape', found none"));
  EXPECT_THAT(parseFailure(R"({"w":{"dtype":"F32","shape":[1]}})", 4),
              HasSubstr("expected the field 'data_offsets', found none"));
  EXPECT_THAT(
      parseFailure(R"({"w":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}})",
                   4),
      HasSubstr("a non-negative integer in 'shape', found -1"));
  EXPECT_THAT(
      parseFailure(R"({"w":{"dtype":"F32","shape":{},"data_offsets":[0,4]}})",
                   4),
      HasSubstr("expected 'shape' to be an array, found an object"));
  EXPECT_THAT(
      parseFailure(R"({"w":{"dtype":"F32","shape":[1],"data_offsets":[4,0]}})",
                   4),
      HasSubstr("begin <= end, found [4, 0]"));
  EXPECT_THAT(parseFailure(
                  R"({"w":{"dtype":"F32","shape":[1],"data_offsets":[0]}})", 4),
              HasSubstr("begin <= end, found [0]"));
  EXPECT_THAT(
      parseFailure(R"({"w":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})",
                   4),
      HasSubstr("ends at 8, but the file has only 4 bytes of data"));
  EXPECT_THAT(
      parseFailure(R"({"w":{"dtype":"F32","shape":[4611686018427387904,)"
                   R"(4611686018427387904],"data_offsets":[0,4]}})",
                   4),
      HasSubstr("overflows"));
  EXPECT_THAT(parseFailure(R"({"w":[]})", 0), HasSubstr("expected an object"));
  EXPECT_THAT(parseFailure(R"([])", 0),
              HasSubstr("expected the header to be an object"));
  EXPECT_THAT(parseFailure(R"({"__metadata__":[]})", 0),
              HasSubstr("'__metadata__' to be an object"));
  EXPECT_THAT(parseFailure(R"({"__metadata__":{"a":1}})", 0),
              HasSubstr("expected a string in '__metadata__', found 1"));
}

TEST(Safetensors, GapsOverlapsAndDuplicates) {
  EXPECT_THAT(
      parseFailure(R"({"a":{"dtype":"I8","shape":[4],"data_offsets":[0,4]},)"
                   R"("b":{"dtype":"I8","shape":[4],"data_offsets":[3,7]}})",
                   7),
      HasSubstr("tensor 'b': error: the data overlaps that of tensor 'a'"));
  EXPECT_THAT(
      parseFailure(R"({"a":{"dtype":"I8","shape":[4],"data_offsets":[0,4]},)"
                   R"("b":{"dtype":"I8","shape":[4],"data_offsets":[5,9]}})",
                   9),
      HasSubstr("tensor 'b': error: expected the data to start at byte"));
  EXPECT_THAT(
      parseFailure(R"({"a":{"dtype":"I8","shape":[4],"data_offsets":[0,4]}})",
                   5),
      HasSubstr("expected the file to end here"));
  EXPECT_THAT(
      parseFailure(R"({"a":{"dtype":"I8","shape":[4],"data_offsets":[0,4]},)"
                   R"("a":{"dtype":"I8","shape":[4],"data_offsets":[0,4]}})",
                   4),
      HasSubstr("the key 'a' occurs twice"));
}

//===----------------------------------------------------------------------===//
// Writer
//===----------------------------------------------------------------------===//

static std::vector<SafetensorsLayout> sampleLayout() {
  return {{"first", ElementType::f32, {2, 3}},
          {"second", ElementType::i8, {40}},
          {"empty", ElementType::bf16, {0}},
          {"third", ElementType::bf16, {5, 2}}};
}

static std::vector<uint8_t> sampleData(size_t index, uint64_t bytes) {
  return std::vector<uint8_t>(bytes, uint8_t('a' + index));
}

static llvm::Error writeTensor(SafetensorsWriter &writer, size_t index,
                               uint64_t bytes) {
  auto data = sampleData(index, bytes);
  // In two parts, the second first.
  llvm::ArrayRef<uint8_t> whole(data);
  MOEC_TRY(writer.write(index, bytes / 2, whole.drop_front(bytes / 2)));
  MOEC_TRY(writer.write(index, 0, whole.take_front(bytes / 2)));
  return writer.complete(index, sha256(whole));
}

static const uint64_t kSampleBytes[] = {24, 40, 0, 20};

TEST(SafetensorsWriter, WritesWhatTheReaderReads) {
  TemporaryFolder folder;
  auto layout = sampleLayout();
  std::vector<std::vector<uint8_t>> data;
  std::vector<llvm::ArrayRef<uint8_t>> views;
  for (size_t i = 0; i < layout.size(); ++i)
    data.push_back(sampleData(i, kSampleBytes[i]));
  for (auto &bytes : data)
    views.push_back(bytes);
  std::string path = folder.file("m.safetensors");
  ASSERT_EQ(toText(writeSafetensorsFile(path, layout, views,
                                        {{"format", "pt"}, {"k\"ey", "v"}})),
            "");
  auto file = SafetensorsFile::open(path);
  ASSERT_TRUE(bool(file));
  EXPECT_EQ(file->header().dataOffset % 64, 0u);
  EXPECT_EQ(file->header().metadataOf("k\"ey"), llvm::StringRef("v"));
  for (size_t i = 0; i < layout.size(); ++i) {
    const SafetensorsEntry *entry = file->find(layout[i].name);
    ASSERT_TRUE(entry);
    EXPECT_EQ(entry->type, layout[i].type);
    EXPECT_EQ(entry->shape, layout[i].shape);
    EXPECT_EQ(file->bytes(*entry), views[i]);
    EXPECT_EQ(file->locationOf(*entry).object,
              "tensor '" + layout[i].name + "'");
  }
}

TEST(SafetensorsWriter, ShardsAndIndex) {
  TemporaryFolder folder;
  auto layout = sampleLayout();
  auto writer = SafetensorsWriter::create(folder.path(), layout, 48,
                                          {{"format", "pt"}}, "identity");
  ASSERT_TRUE(bool(writer));
  ASSERT_EQ(writer->shards().size(), 3u);
  EXPECT_EQ(writer->resumedTensors(), 0u);
  // Any order.
  for (size_t index : {size_t(3), size_t(0), size_t(2)})
    ASSERT_EQ(toText(writeTensor(*writer, index, kSampleBytes[index])), "");
  EXPECT_THAT(toText(writer->finish()),
              HasSubstr("tensor 'second': error: the output ends without"));
  ASSERT_EQ(toText(writeTensor(*writer, 1, 40)), "");
  ASSERT_EQ(toText(writer->finish()), "");
  EXPECT_EQ(folder.list(),
            (std::vector<std::string>{"model-00001-of-00003.safetensors",
                                      "model-00002-of-00003.safetensors",
                                      "model-00003-of-00003.safetensors",
                                      "model.safetensors.index.json"}));
  auto index = JsonDocument::load(folder.file("model.safetensors.index.json"));
  ASSERT_TRUE(bool(index));
  EXPECT_EQ((*index)->root().find("metadata")->find("total_size")->integer, 84);
  EXPECT_EQ((*index)->root().find("weight_map")->find("third")->string,
            "model-00003-of-00003.safetensors");
  auto last =
      SafetensorsFile::open(folder.file("model-00003-of-00003.safetensors"));
  ASSERT_TRUE(bool(last));
  ASSERT_TRUE(last->find("third"));
  EXPECT_EQ(last->bytes(*last->find("third")),
            llvm::ArrayRef<uint8_t>(sampleData(3, 20)));
}

TEST(SafetensorsWriter, ResumesWhatTheFilesConfirm) {
  TemporaryFolder folder, fresh;
  auto layout = sampleLayout();
  auto create = [&](const TemporaryFolder &where, llvm::StringRef identity) {
    auto writer =
        SafetensorsWriter::create(where.path(), layout, 48, {}, identity, 2);
    EXPECT_TRUE(bool(writer));
    return std::move(*writer);
  };
  {
    SafetensorsWriter writer = create(folder, "recipe 1");
    ASSERT_EQ(toText(writeTensor(writer, 0, 24)), "");
    ASSERT_EQ(toText(writeTensor(writer, 1, 40)), "");
    // Claimed, but its bytes do not confirm it.
    ASSERT_EQ(toText(writer.complete(3, sha256(llvm::StringRef("wrong")))), "");
  }
  {
    SafetensorsWriter writer = create(folder, "recipe 1");
    EXPECT_EQ(writer.resumedTensors(), 2u);
    EXPECT_TRUE(writer.isComplete(0));
    EXPECT_TRUE(writer.isComplete(1));
    EXPECT_FALSE(writer.isComplete(2));
    EXPECT_FALSE(writer.isComplete(3));
  }
  // A cut-off last line and a damaged one make no claim.
  std::string journal = folder.read("moec-journal.jsonl");
  size_t second = journal.find('\n') + 1;
  std::string damaged = journal;
  damaged[second] = 'x';
  folder.write("moec-journal.jsonl", damaged);
  EXPECT_EQ(create(folder, "recipe 1").resumedTensors(), 1u);
  journal.pop_back();
  folder.write("moec-journal.jsonl", journal);
  {
    SafetensorsWriter writer = create(folder, "recipe 1");
    EXPECT_EQ(writer.resumedTensors(), 1u);
    for (size_t i = 0; i < layout.size(); ++i)
      if (!writer.isComplete(i))
        ASSERT_EQ(toText(writeTensor(writer, i, kSampleBytes[i])), "");
    ASSERT_EQ(toText(writer.finish()), "");
  }
  {
    SafetensorsWriter writer = create(fresh, "recipe 1");
    for (size_t i = 0; i < layout.size(); ++i)
      ASSERT_EQ(toText(writeTensor(writer, i, kSampleBytes[i])), "");
    ASSERT_EQ(toText(writer.finish()), "");
  }
  ASSERT_EQ(folder.list(), fresh.list());
  for (const std::string &name : folder.list())
    EXPECT_EQ(folder.read(name), fresh.read(name)) << name;
}

TEST(SafetensorsWriter, ResumesAfterAKill) {
  TemporaryFolder folder;
  auto layout = sampleLayout();
  auto create = [&] {
    return SafetensorsWriter::create(folder.path(), layout, 0, {}, "recipe");
  };
  pid_t child = ::fork();
  if (child == 0) {
    auto writer = create();
    std::vector<uint8_t> half(10, 'x');
    // The second is written in part and not said to be complete.
    if (!writer || writeTensor(*writer, 0, kSampleBytes[0]) ||
        writer->write(1, 0, half))
      ::_exit(2);
    ::kill(::getpid(), SIGKILL);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  ASSERT_TRUE(WIFSIGNALED(status));
  EXPECT_FALSE(folder.has("model.safetensors"));
  auto writer = create();
  ASSERT_TRUE(bool(writer));
  EXPECT_EQ(writer->resumedTensors(), 1u);
  for (size_t i = 1; i < layout.size(); ++i)
    ASSERT_EQ(toText(writeTensor(*writer, i, kSampleBytes[i])), "");
  ASSERT_EQ(toText(writer->finish()), "");
  auto file = SafetensorsFile::open(folder.file("model.safetensors"));
  ASSERT_TRUE(bool(file));
  for (size_t i = 0; i < layout.size(); ++i)
    EXPECT_EQ(file->bytes(*file->find(layout[i].name)),
              llvm::ArrayRef<uint8_t>(sampleData(i, kSampleBytes[i])));
}

TEST(SafetensorsWriter, AnotherRecipeStartsAnew) {
  TemporaryFolder folder;
  auto layout = sampleLayout();
  {
    auto writer =
        SafetensorsWriter::create(folder.path(), layout, 24, {}, "recipe 1");
    ASSERT_TRUE(bool(writer));
    ASSERT_EQ(toText(writeTensor(*writer, 0, 24)), "");
  }
  auto writer =
      SafetensorsWriter::create(folder.path(), layout, 0, {}, "recipe 2");
  ASSERT_TRUE(bool(writer));
  EXPECT_EQ(writer->resumedTensors(), 0u);
  EXPECT_EQ(folder.list(),
            (std::vector<std::string>{"model.safetensors.partial",
                                      "moec-journal.jsonl"}));
}

TEST(SafetensorsWriter, ImpossibleLayoutsAreErrors) {
  auto failure = [](std::vector<SafetensorsLayout> layout) {
    auto shards = layoutSafetensors(layout, 0, {});
    return shards ? "(no error)" : toText(shards.takeError());
  };
  EXPECT_THAT(
      failure({{"a", ElementType::f32, {1}}, {"a", ElementType::f32, {1}}}),
      HasSubstr("two tensors of the output have this name"));
  EXPECT_THAT(failure({{"a", ElementType::q4_0, {32}}}),
              HasSubstr("cannot store elements of type q4_0"));
  int64_t big = int64_t(1) << 61;
  EXPECT_THAT(failure({{"a", ElementType::f32, {big}}}),
              HasSubstr("overflows"));
}

#include "tools/recipes/Yaml.h"

#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/Casting.h"
#include "llvm/Support/JSON.h"
#include "llvm/Support/SourceMgr.h"
#include "llvm/Support/YAMLParser.h"

using namespace moec;
namespace yaml = llvm::yaml;

/// A recipe is a page of text.
static constexpr size_t kMaxBytes = 1 << 18;
/// LLVM's parser recurses over nesting.
static constexpr int kMaxDepth = 32;
/// Brackets left open anywhere, in texts too.
static constexpr int kMaxOpen = 500;

YamlNode YamlNode::scalar(std::string text, Location loc, std::string line) {
  YamlNode node;
  node.kind = Kind::scalar;
  node.text = std::move(text);
  node.loc = std::move(loc);
  node.line = std::move(line);
  return node;
}

const YamlNode *YamlNode::find(llvm::StringRef key) const {
  for (const YamlEntry &entry : entries)
    if (entry.key == key)
      return &entry.value;
  return nullptr;
}

YamlNode *YamlNode::find(llvm::StringRef key) {
  return const_cast<YamlNode *>(std::as_const(*this).find(key));
}

std::string YamlNode::describe() const {
  switch (kind) {
  case Kind::null:
    return "nothing";
  case Kind::list:
    return "a list";
  case Kind::map:
    return "a map";
  case Kind::scalar:
    break;
  }
  llvm::StringRef shown = llvm::StringRef(text).take_front(40);
  return ("'" + shown + (shown.size() < text.size() ? "...'" : "'")).str();
}

namespace {
class Reader {
public:
  Reader(llvm::StringRef text, llvm::StringRef file)
      : text(text), file(file), stream(text, sources, /*ShowColors=*/false) {
    sources.setDiagHandler(keepFirst, this);
  }

  llvm::Expected<YamlNode> run();

private:
  static void keepFirst(const llvm::SMDiagnostic &problem, void *self) {
    auto &reader = *static_cast<Reader *>(self);
    if (!reader.hasProblem)
      reader.problem = problem;
    reader.hasProblem = true;
  }
  llvm::Error takeProblem() const {
    std::string message = problem.getMessage().str();
    if (!message.empty())
      message[0] = llvm::toLower(message[0]);
    return error(Location::atLine(file.str(), std::max(problem.getLineNo(), 0),
                                  problem.getColumnNo() + 1))
               .withSource(problem.getLineContents().str())
           << "is no YAML: " << llvm::StringRef(message).rtrim('.');
  }
  /// Refuses what would nest deeper than the parser can walk.
  llvm::Error checkDepth() const;
  void place(llvm::SMLoc at, Location &loc, std::string &line) const;
  void place(const yaml::Node &node, Location &loc, std::string &line) const {
    place(node.getSourceRange().Start, loc, line);
  }
  llvm::Expected<YamlNode> read(yaml::Node &node, int depth);
  llvm::Error readMap(yaml::MappingNode &map, YamlNode &out, int depth);

  llvm::StringRef text, file;
  llvm::SourceMgr sources;
  yaml::Stream stream;
  llvm::SMDiagnostic problem;
  bool hasProblem = false;
};
} // namespace

llvm::Error Reader::checkDepth() const {
  int open = 0;
  unsigned number = 0;
  for (llvm::StringRef line : llvm::split(text, '\n')) {
    ++number;
    int dashes = 0;
    for (size_t i = 0; i < line.size(); ++i) {
      char c = line[i];
      open += (c == '[' || c == '{') - (c == ']' || c == '}');
      open = std::max(open, 0);
      dashes += c == '-' || c == '?' || c == ':';
      if (open > kMaxOpen || (dashes > 400 && i < 1000))
        return error(Location::atLine(file.str(), number, i + 1))
               << "nests deeper than " << kMaxDepth << " levels";
    }
    if (line.size() - line.ltrim(' ').size() > 200)
      return error(Location::atLine(file.str(), number, 1))
             << "is indented by more than 200 blanks";
  }
  return llvm::Error::success();
}

void Reader::place(llvm::SMLoc at, Location &loc, std::string &line) const {
  const char *pointer = at.getPointer();
  if (!pointer || pointer < text.begin() || pointer > text.end()) {
    loc = Location::inFile(file.str());
    return;
  }
  llvm::StringRef before(text.begin(), pointer - text.begin());
  size_t start = before.rfind('\n') + 1; // npos + 1 is 0.
  loc = Location::atLine(file.str(), before.count('\n') + 1,
                         before.size() - start + 1);
  line = text.substr(start).split('\n').first.str();
}

llvm::Error Reader::readMap(yaml::MappingNode &map, YamlNode &out, int depth) {
  for (yaml::KeyValueNode &pair : map) {
    auto *key = llvm::dyn_cast_or_null<yaml::ScalarNode>(pair.getKey());
    if (hasProblem)
      return takeProblem();
    YamlEntry entry;
    if (!key) {
      place(map, entry.loc, entry.line);
      return entry.error() << "expects keys that are words";
    }
    place(*key, entry.loc, entry.line);
    llvm::SmallString<32> storage;
    entry.key = key->getValue(storage).str();
    if (!llvm::json::isUTF8(entry.key))
      return entry.error() << "expects keys of UTF-8";
    yaml::Node *value = pair.getValue();
    if (hasProblem)
      return takeProblem();
    for (const YamlEntry &other : out.entries)
      if (other.key == entry.key)
        return entry.error().withNote(other.loc, "it is given here first")
               << "key '" << entry.key << "' is given twice";
    if (!value)
      return entry.error() << "key '" << entry.key << "' has no value";
    MOEC_ASSIGN(entry.value, read(*value, depth + 1));
    // An empty value stands nowhere; its key does.
    if (entry.value.kind == YamlNode::Kind::null) {
      entry.value.loc = entry.loc;
      entry.value.line = entry.line;
    }
    out.entries.push_back(std::move(entry));
  }
  return llvm::Error::success();
}

llvm::Expected<YamlNode> Reader::read(yaml::Node &node, int depth) {
  YamlNode out;
  place(node, out.loc, out.line);
  if (depth > kMaxDepth)
    return out.error() << "nests deeper than " << kMaxDepth << " levels";
  if (!node.getRawTag().empty() || !node.getAnchor().empty())
    return out.error() << "tags and anchors have no use here";
  if (auto *scalar = llvm::dyn_cast<yaml::ScalarNode>(&node)) {
    llvm::SmallString<64> storage;
    llvm::StringRef raw = scalar->getRawValue();
    out.kind = YamlNode::Kind::scalar;
    out.quoted = raw.starts_with("\"") || raw.starts_with("'");
    out.text = scalar->getValue(storage).str();
  } else if (auto *block = llvm::dyn_cast<yaml::BlockScalarNode>(&node)) {
    out.kind = YamlNode::Kind::scalar;
    out.quoted = true;
    out.text = block->getValue().rtrim('\n').str();
  } else if (auto *list = llvm::dyn_cast<yaml::SequenceNode>(&node)) {
    out.kind = YamlNode::Kind::list;
    for (yaml::Node &item : *list) {
      MOEC_ASSIGN(YamlNode read, this->read(item, depth + 1));
      out.items.push_back(std::move(read));
    }
  } else if (auto *map = llvm::dyn_cast<yaml::MappingNode>(&node)) {
    out.kind = YamlNode::Kind::map;
    MOEC_TRY(readMap(*map, out, depth));
  } else if (llvm::isa<yaml::AliasNode>(&node)) {
    return out.error() << "aliases have no use here";
  }
  if (hasProblem)
    return takeProblem();
  // Bytes of the file, or an escape such as "\ud800".
  if (!llvm::json::isUTF8(out.text))
    return out.error() << "expects text of UTF-8";
  return std::move(out);
}

llvm::Expected<YamlNode> Reader::run() {
  if (text.size() > kMaxBytes)
    return error(Location::inFile(file.str()))
           << "has " << text.size() << " bytes, expects a recipe of at most "
           << kMaxBytes;
  if (text.contains('\0'))
    return error(Location::inFile(file.str())) << "is no text";
  MOEC_TRY(checkDepth());
  auto document = stream.begin();
  yaml::Node *root = document == stream.end() ? nullptr : document->getRoot();
  if (hasProblem)
    return takeProblem();
  if (!root || llvm::isa<yaml::NullNode>(root))
    return error(Location::inFile(file.str()))
           << "is empty, expects the keys of a recipe";
  MOEC_ASSIGN(YamlNode tree, read(*root, 0));
  ++document;
  if (hasProblem)
    return takeProblem();
  if (document != stream.end())
    return error(Location::inFile(file.str()))
           << "holds several documents, expects one";
  return std::move(tree);
}

llvm::Expected<YamlNode> moec::parseYaml(llvm::StringRef text,
                                         llvm::StringRef file) {
  return Reader(text, file).run();
}

std::optional<llvm::StringRef>
moec::nearest(llvm::StringRef name, llvm::ArrayRef<llvm::StringRef> known) {
  std::optional<llvm::StringRef> best;
  // A third of the letters may be wrong, and a swap counts twice.
  unsigned limit = std::max<unsigned>(2, name.size() / 3) + 1;
  for (llvm::StringRef candidate : known) {
    unsigned distance = name.edit_distance(candidate, true, limit);
    if (distance < limit) {
      limit = distance;
      best = candidate;
    }
  }
  return best;
}

std::string moec::suggestion(llvm::StringRef name,
                             llvm::ArrayRef<llvm::StringRef> known) {
  if (auto near = nearest(name, known))
    return " (did you mean '" + near->str() + "'?)";
  if (known.empty())
    return "";
  return " (there are " + llvm::join(known, ", ") + ")";
}

//===- ModelExplorer.cpp - graphs for Google's Model Explorer -------------===//
//
// The viewer's JSON: graphs of nodes, each with a namespace that it is folded
// into (`layers/3/moe`), attributes, incoming edges by port, and what is known
// of its outputs. Weights are nodes beside the op that reads them, so that a
// bank of experts is one box; arguments are nodes of the namespace `inputs`.
//
//===----------------------------------------------------------------------===//

#include "ir/support/Escape.h"
#include "tools/driver/Align.h"
#include "tools/driver/Describe.h"
#include "llvm/ADT/DenseMap.h"

using namespace moec;

template <typename T> static std::string textOf(const T &printable) {
  std::string text;
  llvm::raw_string_ostream(text) << printable;
  return text;
}

static llvm::json::Object attribute(llvm::StringRef key,
                                    llvm::StringRef value) {
  return llvm::json::Object{{"key", toUtf8(key)}, {"value", toUtf8(value)}};
}

/// `layers/3/moe` of `model.layers.3.moe`; `model` parts that say nothing more
/// are left out.
static std::string namespaceOf(const Operation &op) {
  llvm::StringRef name = op.loc().object;
  int64_t layer = layerOf(op);
  if (layer < 0) {
    name.consume_front("model.");
    return layerOfName(op.loc().object) < 0 && !name.contains(' ') ? name.str()
                                                                   : "";
  }
  std::string path = "layers/" + std::to_string(layer);
  std::string marker = "layers." + std::to_string(layer);
  size_t at = name.find(marker);
  llvm::StringRef rest =
      at == llvm::StringRef::npos ? "" : name.drop_front(at + marker.size());
  if (rest.consume_front(".") && !rest.empty())
    return path + "/" + rest.str();
  // Without a finer location, what the op is says it.
  if (op.mnemonic().starts_with("moe."))
    return path + "/moe";
  return path;
}

namespace {
class GraphWriter {
public:
  explicit GraphWriter(const Program &program) : program(program) {}
  llvm::json::Object run();

private:
  struct Port {
    std::string node, output;
  };
  Port portOf(Value value, const std::string &space);
  void addOp(const Operation &op);
  llvm::json::Object node(llvm::StringRef id, llvm::StringRef label,
                          llvm::StringRef space);
  static llvm::json::Object output(unsigned index, const TensorType &type,
                                   llvm::StringRef tag);

  const Program &program;
  llvm::json::Array nodes;
  llvm::DenseMap<Value, Port> ports;
  unsigned next = 0;
};
} // namespace

llvm::json::Object GraphWriter::node(llvm::StringRef id, llvm::StringRef label,
                                     llvm::StringRef space) {
  return llvm::json::Object{{"id", toUtf8(id)},
                            {"label", toUtf8(label)},
                            {"namespace", toUtf8(space)}};
}

llvm::json::Object GraphWriter::output(unsigned index, const TensorType &type,
                                       llvm::StringRef tag) {
  return llvm::json::Object{
      {"id", std::to_string(index)},
      {"attrs", llvm::json::Array{attribute("__tensor_tag", tag),
                                  attribute("tensor_shape", textOf(type))}}};
}

/// Where a value comes from; a weight gets its node where it is first read.
GraphWriter::Port GraphWriter::portOf(Value value, const std::string &space) {
  if (auto at = ports.find(value); at != ports.end())
    return at->second;
  const Weight &weight = *value.weight();
  Port port{"weight " + weight.name, "0"};
  llvm::json::Object object = node(port.node, "weight", space);
  object["attrs"] = llvm::json::Array{attribute("name", weight.name),
                                      attribute("type", textOf(weight.type())),
                                      attribute("from", provenance(weight))};
  object["incomingEdges"] = llvm::json::Array{};
  object["outputsMetadata"] =
      llvm::json::Array{output(0, weight.type(), weight.name)};
  nodes.push_back(std::move(object));
  return ports[value] = port;
}

void GraphWriter::addOp(const Operation &op) {
  std::string id = std::to_string(next++), space = namespaceOf(op);
  llvm::json::Array edges, outputs, attrs;
  for (unsigned i = 0; i < op.numOperands(); ++i) {
    Port from = portOf(op.operand(i), space);
    edges.push_back(
        llvm::json::Object{{"sourceNodeId", toUtf8(from.node)},
                           {"sourceNodeOutputId", from.output},
                           {"targetNodeInputId", std::to_string(i)}});
  }
  for (unsigned i = 0; i < op.numResults(); ++i) {
    Value result = op.result(i);
    ports[result] = {id, std::to_string(i)};
    outputs.push_back(output(i, result.type(), result.hint()));
  }
  std::string text = op.attrs().str(/*maxListElements=*/16);
  if (!text.empty())
    attrs.push_back(attribute("attributes", text));
  if (op.loc().isKnown())
    attrs.push_back(attribute("location", op.loc().str()));
  llvm::json::Object object = node(id, op.mnemonic(), space);
  object["attrs"] = std::move(attrs);
  object["incomingEdges"] = std::move(edges);
  object["outputsMetadata"] = std::move(outputs);
  if (op.mnemonic().starts_with("moe."))
    object["style"] = llvm::json::Object{{"backgroundColor", "#ffe8c0"},
                                         {"borderColor", "#c2571a"}};
  nodes.push_back(std::move(object));
}

llvm::json::Object GraphWriter::run() {
  const Block &body = program.body();
  for (unsigned i = 0; i < body.numArguments(); ++i) {
    Value argument = body.argument(i);
    std::string id = "argument " + argument.hint();
    ports[argument] = {id, "0"};
    llvm::json::Object object = node(id, argument.hint(), "inputs");
    object["attrs"] =
        llvm::json::Array{attribute("type", textOf(argument.type()))};
    object["incomingEdges"] = llvm::json::Array{};
    object["outputsMetadata"] =
        llvm::json::Array{output(0, argument.type(), argument.hint())};
    nodes.push_back(std::move(object));
  }
  for (const Operation &op : body.ops())
    addOp(op);
  return llvm::json::Object{{"id", toUtf8(program.name)},
                            {"nodes", std::move(nodes)}};
}

llvm::json::Value moec::modelExplorerGraphs(const Module &module) {
  llvm::json::Array graphs;
  for (auto &program : module.programs())
    graphs.push_back(GraphWriter(*program).run());
  return llvm::json::Object{{"label", toUtf8(module.name())},
                            {"graphs", std::move(graphs)}};
}

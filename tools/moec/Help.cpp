#include "tools/moec/Help.h"

#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/StringExtras.h"

#include <map>
#include <unistd.h>

using namespace moec;
namespace cl = llvm::cl;

static bool isHelp(llvm::StringRef argument) {
  return argument == "--help" || argument == "-help" || argument == "-h";
}

/// Whether this argument takes the next one as its value.
static bool takesNext(const Command &command, llvm::StringRef argument) {
  if (!argument.consume_front("-") || argument.contains('='))
    return false;
  argument.consume_front("-");
  auto found = command.flags->OptionsMap.find(argument);
  return found != command.flags->OptionsMap.end() &&
         found->second->getValueExpectedFlag() == cl::ValueRequired;
}

bool moec::wantsHelp(const Command &command,
                     llvm::ArrayRef<std::string> arguments) {
  bool value = false;
  for (const std::string &argument : arguments) {
    if (!value && argument == "--")
      return false;
    if (!value && isHelp(argument))
      return true;
    value = !value && takesNext(command, argument);
  }
  return false;
}

std::string moec::emptyValue(const Command &command,
                             llvm::ArrayRef<std::string> arguments) {
  for (size_t i = 0; i < arguments.size() && arguments[i] != "--"; ++i) {
    llvm::StringRef flag = arguments[i];
    bool next = takesNext(command, flag);
    if (next ? ++i == arguments.size() || !arguments[i].empty()
             : !flag.consume_back("="))
      continue;
    auto found = command.flags->OptionsMap.find(flag.ltrim('-'));
    if (!flag.starts_with("-") || found == command.flags->OptionsMap.end())
      continue;
    const cl::Option &option = *found->second;
    // A text may be empty, as may a list of passes; numbers have their reader.
    if (option.getValueExpectedFlag() == cl::ValueRequired &&
        option.ValueStr != "text" && option.ValueStr != "number" &&
        option.ValueStr != "pipeline")
      return flag.str() + " is '', expects " +
             (option.ValueStr.empty() ? "a value" : option.ValueStr.str());
  }
  return "";
}

/// `--dtype=<type>`; `-o <file>`.
static std::string flagText(const cl::Option &option) {
  std::string text =
      (option.ArgStr.size() == 1 ? "-" : "--") + option.ArgStr.str();
  if (option.getValueExpectedFlag() == cl::ValueOptional &&
      !option.ValueStr.empty())
    return text + "[=<" + option.ValueStr.str() + ">]";
  if (option.getValueExpectedFlag() != cl::ValueRequired)
    return text;
  llvm::StringRef value = option.ValueStr.empty() ? "value" : option.ValueStr;
  return text + (option.ArgStr.size() == 1 ? " <" : "=<") + value.str() + ">";
}

/// Text in lines of at most `width` columns, the first one having begun at
/// `indent`.
static void printWrapped(llvm::StringRef text, unsigned indent, unsigned width,
                         llvm::raw_ostream &os) {
  unsigned column = indent;
  for (llvm::StringRef word : llvm::split(text, ' ')) {
    if (column > indent && column + 1 + word.size() > width) {
      os << "\n";
      os.indent(indent);
      column = indent;
    }
    if (column > indent)
      os << ' ';
    os << word;
    column += word.size() + (column > indent);
  }
  os << "\n";
}

/// What stands for the argument in the usage: `MODEL`, `[NAME]`.
static std::string positionalText(const cl::Option &option) {
  std::string name = option.HelpStr.str();
  return option.getNumOccurrencesFlag() == cl::Required ? name
                                                        : "[" + name + "]";
}

static std::string positionals(const Command &command) {
  std::string text;
  for (const cl::Option *option : command.flags->PositionalOpts)
    text += (text.empty() ? "" : " ") + positionalText(*option);
  return text;
}

void moec::printHelp(const Command &command, llvm::raw_ostream &os) {
  unsigned width = 80;
  if (os.is_displayed())
    width = std::clamp(terminalColumns(STDOUT_FILENO, width), 50u, 100u);
  std::string name = command.flags->getName().str();
  os << "moec " << name << ": " << command.flags->getDescription()
     << "\n\nusage: moec " << name << " [options]";
  std::string arguments = positionals(command);
  os << (arguments.empty() ? "" : " ") << arguments << "\n";

  // Those without a group of their own first.
  std::map<std::string, std::map<std::string, const cl::Option *>> groups;
  for (auto &entry : command.flags->OptionsMap) {
    const cl::Option &option = *entry.second;
    if (!option.Subs.contains(command.flags) ||
        option.getOptionHiddenFlag() != cl::NotHidden)
      continue;
    const cl::OptionCategory *group = option.Categories.front();
    bool general = group == &cl::getGeneralCategory();
    groups[general ? "" : group->getName().str()][entry.first().str()] =
        &option;
  }
  constexpr unsigned kWidestFlag = 30;
  unsigned indent = 0;
  for (auto &[title, options] : groups)
    for (auto &[flag, option] : options)
      if (unsigned size = flagText(*option).size(); size <= kWidestFlag)
        indent = std::max(indent, size + 4);
  for (auto &[title, options] : groups) {
    os << "\n";
    if (!title.empty())
      os << title << ":\n";
    for (auto &[flag, option] : options) {
      std::string text = "  " + flagText(*option);
      os << text;
      if (text.size() + 2 > indent) {
        os << "\n";
        os.indent(indent);
      } else {
        os.indent(indent - text.size());
      }
      printWrapped(option->HelpStr, indent, width, os);
    }
  }
}

/// The text between the first two quotes.
static llvm::StringRef quoted(llvm::StringRef text) {
  return text.split('\'').second.split('\'').first;
}

/// `for the --runs option: requires a value!`.
static std::string flagProblem(llvm::StringRef line) {
  auto [flag, what] = line.split(" option: ");
  std::string name = flag.str();
  if (what.starts_with("must be specified at least once"))
    return name + " is missing";
  if (what.starts_with("requires a value"))
    return name + " wants a value";
  if (what.starts_with("may only occur zero or one times"))
    return name + " is given more than once";
  if (what.starts_with("does not allow a value"))
    return name + " takes no value, found '" + quoted(what).str() + "'";
  if (what.contains("for boolean argument"))
    return name + " is '" + quoted(what).str() + "', expects true or false";
  // Of NumberParser.
  if (what.starts_with("is '"))
    return name + " " + what.str();
  return name + ": " + what.str();
}

std::string moec::usageProblem(const Command &command, llvm::StringRef said) {
  std::string wanted = positionals(command);
  std::string positional, other;
  for (llvm::StringRef line : llvm::split(said.trim(), '\n')) {
    // LLVM begins with the program's name.
    line = line.ltrim();
    if (size_t colon = line.find(": ");
        colon != llvm::StringRef::npos && !line.take_front(colon).contains(' '))
      line = line.substr(colon + 2);
    if (line.starts_with("Did you mean")) {
      // Of one letter anything is near.
      if (!other.empty() && quoted(line).size() > 2)
        other += "; did you mean '" + quoted(line).str() + "'?";
      break;
    }
    if (!other.empty())
      break;
    if (line.starts_with("Unknown command line argument"))
      other = (quoted(line).starts_with("-") ? "unknown flag '"
                                             : "unexpected argument '") +
              quoted(line).str() + "'";
    else if (line.starts_with("Not enough positional"))
      positional = "expects " + wanted;
    else if (line.starts_with("Too many positional"))
      positional = wanted.empty() ? "expects flags alone"
                                  : "expects " + wanted + " and no more";
    else if (line.consume_front("for the "))
      other = flagProblem(line);
    else if (positional.empty())
      other = line.str();
  }
  return other.empty() ? positional : other;
}

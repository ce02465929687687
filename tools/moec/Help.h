//===- Help.h - `moec COMMAND --help`, and wrong usage in our words -------===//
#pragma once

#include "tools/moec/Command.h"

namespace moec {

/// Whether the arguments behind the command's name ask for its help.
bool wantsHelp(const Command &command, llvm::ArrayRef<std::string> arguments);

/// The first flag that is given an empty value though that can mean nothing: a
/// file, a name, a number. The problem, or an empty text.
std::string emptyValue(const Command &command,
                       llvm::ArrayRef<std::string> arguments);

/// Usage and flags, in groups; lines as wide as the terminal.
void printHelp(const Command &command, llvm::raw_ostream &os);

/// What LLVM's command line said about wrong arguments, as one sentence of
/// ours: the first problem alone, since the others mostly follow from it.
std::string usageProblem(const Command &command, llvm::StringRef said);

} // namespace moec

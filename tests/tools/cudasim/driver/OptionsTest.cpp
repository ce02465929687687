#include "tools/cudasim/driver/Options.h"

#include "ir/support/Diagnostic.h"
#include "tools/cudasim/machine/DeviceModel.h"
#include "gtest/gtest.h"

using cudasim::driver::LogLevel;
using cudasim::driver::Options;

namespace {

Options parsed(llvm::StringRef text) {
  llvm::Expected<Options> options = Options::parse(text);
  if (options)
    return std::move(*options);
  ADD_FAILURE() << moec::toText(options.takeError());
  return {};
}

std::string refused(llvm::StringRef text) {
  llvm::Expected<Options> options = Options::parse(text);
  if (!options)
    return moec::toText(options.takeError());
  ADD_FAILURE() << "accepted: " << text.str();
  return "";
}

TEST(CudasimOptions, Defaults) {
  Options options = parsed("");
  EXPECT_EQ(options.devices.size(), 2u);
  EXPECT_STREQ(options.devices[0]->key, "h100");
  EXPECT_EQ(options.seed, 0u);
  EXPECT_TRUE(options.contract);
  EXPECT_TRUE(options.hasCheck("sync"));
  EXPECT_FALSE(options.hasCheck("init"));
  EXPECT_EQ(options.log, LogLevel::Faults);
}

TEST(CudasimOptions, Everything) {
  Options options =
      parsed("checks=all, seed=3,device=a100,devices=4,fma=never,perturb=1,"
             "counters=c.json,budget=1000,hang=5,log=calls,");
  EXPECT_TRUE(options.hasCheck("init"));
  EXPECT_TRUE(options.hasCheck("leaks"));
  EXPECT_EQ(options.seed, 3u);
  EXPECT_EQ(options.devices.size(), 4u);
  EXPECT_STREQ(options.devices[3]->key, "a100");
  EXPECT_FALSE(options.contract);
  EXPECT_TRUE(options.perturb);
  EXPECT_EQ(options.counters, "c.json");
  EXPECT_EQ(options.budget, 1000u);
  EXPECT_EQ(options.hangMs, 5u);
  EXPECT_EQ(options.log, LogLevel::Calls);
}

TEST(CudasimOptions, ListsOfChecksAndDevices) {
  Options options = parsed("checks=race+init,device=h100+b200");
  EXPECT_TRUE(options.hasCheck("race"));
  EXPECT_TRUE(options.hasCheck("init"));
  EXPECT_FALSE(options.hasCheck("sync"));
  ASSERT_EQ(options.devices.size(), 2u);
  EXPECT_STREQ(options.devices[1]->key, "b200");
  EXPECT_TRUE(parsed("checks=none").checks.empty());
}

TEST(CudasimOptions, MistakesAreLocated) {
  std::string said = refused("seed=3,colour=red");
  EXPECT_EQ(said.substr(0, said.find('\n')),
            "MOEC_CUDASIM:1:8: error: there is no option 'colour': expected "
            "budget, checks, counters, device, devices, fma, hang, log, "
            "perturb or seed");
  EXPECT_NE(said.find("| seed=3,colour=red\n"), std::string::npos) << said;
  EXPECT_NE(refused("seed=x").find("MOEC_CUDASIM:1:6: error: 'seed' is 'x'"),
            std::string::npos);
  EXPECT_NE(refused("seed").find("expected key=value, found 'seed'"),
            std::string::npos);
  EXPECT_NE(refused("checks=race+rice")
                .find(":1:13: error: there is no check "
                      "'rice'"),
            std::string::npos);
  EXPECT_NE(refused("device=h100+h200")
                .find(":1:13: error: there is no "
                      "device 'h200'"),
            std::string::npos);
  EXPECT_NE(refused("devices=0").find("from 1 to 16"), std::string::npos);
  EXPECT_NE(refused("devices=17").find("from 1 to 16"), std::string::npos);
  EXPECT_NE(refused("devices=3,device=h100+a100").find("names 2"),
            std::string::npos);
  EXPECT_NE(refused("fma=maybe").find("never or greedy"), std::string::npos);
  EXPECT_NE(refused("perturb=2").find("takes 0 or 1"), std::string::npos);
  EXPECT_NE(refused("log=loud").find("none, faults, errors or calls"),
            std::string::npos);
  EXPECT_NE(refused("counters=").find("no path"), std::string::npos);
}

} // namespace

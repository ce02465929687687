#include "tools/driver/Html.h"
#include "tools/driver/Table.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/Support/Format.h"

#include <algorithm>
#include <cmath>

using namespace moec;
using namespace moec::html;

/// Coordinates with a tenth of a pixel: the same text on every machine.
static llvm::format_object<double> px(double value) {
  return llvm::format("%.1f", value);
}

/// Every n-th label, so that they do not overlap.
static size_t labelStep(size_t count, double space, double needed) {
  return std::max<size_t>(1, std::ceil(needed * count / std::max(space, 1.0)));
}

void LogChart::write(llvm::raw_ostream &os) const {
  double least = INFINITY, most = 0;
  auto see = [&](double value) {
    if (value > 0 && std::isfinite(value)) {
      least = std::min(least, value);
      most = std::max(most, value);
    }
  };
  for (const Series &one : series)
    std::for_each(one.values.begin(), one.values.end(), see);
  see(limit);
  if (!(most > 0))
    least = most = 1;
  int low = std::floor(std::log10(least)), high = std::ceil(std::log10(most));
  if (low == high)
    --low;
  bool zeros = llvm::any_of(series, [](const Series &one) {
    return llvm::any_of(one.values, [](double value) { return !(value > 0); });
  });
  const double width = 980, left = 62, right = 14, top = 26, bottom = 46,
               plot = 230, zeroBand = zeros ? 40 : 10;
  double height = top + plot + zeroBand + bottom;
  size_t count = labels.size();
  auto x = [&](size_t i) {
    return left +
           (width - left - right) * (i + 0.5) / std::max<size_t>(count, 1);
  };
  auto y = [&](double value) {
    if (!(value > 0))
      return top + plot + zeroBand * 0.65;
    double part = (std::log10(value) - low) / (high - low);
    return top + plot * (1 - std::clamp(part, 0.0, 1.0));
  };
  os << "<svg viewBox=\"0 0 " << px(width) << " " << px(height) << "\" width=\""
     << px(width) << "\" role=\"img\">\n";
  int step = std::max(1, (high - low + 7) / 8);
  for (int power = low; power <= high; power += step) {
    double at = y(std::pow(10.0, power));
    os << "<line class=\"rule\" x1=\"" << px(left) << "\" x2=\""
       << px(width - right) << "\" y1=\"" << px(at) << "\" y2=\"" << px(at)
       << "\"/><text x=\"" << px(left - 8) << "\" y=\"" << px(at + 4)
       << "\" text-anchor=\"end\">1e" << power << "</text>\n";
  }
  if (zeros)
    os << "<text x=\"" << px(left - 8) << "\" y=\"" << px(y(0) + 4)
       << "\" text-anchor=\"end\">0</text>\n";
  size_t every = labelStep(count, width - left - right, 26);
  for (size_t i = 0; i < count; i += every)
    os << "<text x=\"" << px(x(i)) << "\" y=\""
       << px(top + plot + zeroBand + 14) << "\" text-anchor=\"middle\">"
       << escape(labels[i]) << "</text>\n";
  os << "<text x=\"" << px((width + left) / 2) << "\" y=\"" << px(height - 8)
     << "\" text-anchor=\"middle\">" << escape(xName) << "</text>\n";
  if (limit > 0)
    os << "<line class=\"limit\" x1=\"" << px(left) << "\" x2=\""
       << px(width - right) << "\" y1=\"" << px(y(limit)) << "\" y2=\""
       << px(y(limit)) << "\"/><text class=\"limit\" x=\"" << px(width - right)
       << "\" y=\"" << px(y(limit) - 6) << "\" text-anchor=\"end\">"
       << escape(limitName) << "</text>\n";
  double legend = left;
  for (const Series &one : series) {
    std::string style = "s" + std::to_string(one.style);
    os << "<circle class=\"" << style << "\" cx=\"" << px(legend + 5)
       << "\" cy=\"10\" r=\"4\"/><text x=\"" << px(legend + 14)
       << "\" y=\"14\">" << escape(one.name) << "</text>\n";
    legend += 34 + 6.6 * one.name.size();
    if (one.line) {
      os << "<polyline class=\"" << style << "\" points=\"";
      for (size_t i = 0; i < one.values.size(); ++i)
        os << px(x(i)) << "," << px(y(one.values[i])) << " ";
      os << "\"/>\n";
    }
    for (size_t i = 0; i < one.values.size(); ++i)
      os << "<circle class=\"" << style << "\" cx=\"" << px(x(i)) << "\" cy=\""
         << px(y(one.values[i])) << "\" r=\"" << (one.line ? "2.0" : "4.0")
         << "\"><title>" << escape(xName + " " + labels[i]) << ": "
         << escape(one.name) << " " << formatScientific(one.values[i])
         << "</title></circle>\n";
  }
  os << "</svg>\n";
}

void HeatMap::write(llvm::raw_ostream &os) const {
  const double left = 62, top = 24, bottom = 28, room = 918;
  double cell = std::clamp(room / std::max<size_t>(columns.size(), 1), 5.0,
                           columns.size() > 16 ? 28.0 : 40.0);
  // Many rows make flat cells, so that a page holds them.
  double tall = std::min(
      cell, std::clamp(640.0 / std::max<size_t>(rows.size(), 1), 5.0, 26.0));
  double width = left + cell * columns.size() + 10;
  double height = top + tall * rows.size() + bottom;
  os << "<svg viewBox=\"0 0 " << px(width) << " " << px(height) << "\" width=\""
     << px(width) << "\" role=\"img\">\n";
  os << "<text x=\"" << px(left - 8) << "\" y=\"14\" text-anchor=\"end\">"
     << escape(rowName) << "</text>\n<text x=\"" << px(left) << "\" y=\""
     << px(height - 6) << "\">" << escape(columnName) << "</text>\n";
  size_t everyRow = labelStep(rows.size(), tall * rows.size(), 14);
  size_t everyColumn = labelStep(columns.size(), cell * columns.size(), 24);
  for (size_t c = 0; c < columns.size(); c += everyColumn)
    os << "<text x=\"" << px(left + cell * (c + 0.5)) << "\" y=\""
       << px(top - 6) << "\" text-anchor=\"middle\">" << escape(columns[c])
       << "</text>\n";
  for (size_t r = 0; r < rows.size(); ++r) {
    if (r % everyRow == 0)
      os << "<text x=\"" << px(left - 8) << "\" y=\""
         << px(top + tall * (r + 0.5) + 4) << "\" text-anchor=\"end\">"
         << escape(rows[r]) << "</text>\n";
    for (size_t c = 0; c < columns.size(); ++c) {
      double number = value(r, c);
      if (std::isnan(number))
        continue;
      double part = most > least ? (number - least) / (most - least) : 1;
      part = std::clamp(part, 0.0, 1.0);
      os << "<rect class=\"cell\" x=\"" << px(left + cell * c) << "\" y=\""
         << px(top + tall * r) << "\" width=\"" << px(cell) << "\" height=\""
         << px(tall) << "\" fill-opacity=\"" << llvm::format("%.2f", part)
         << "\"><title>" << escape(tip(r, c)) << "</title></rect>\n";
      std::string inside = label(r, c);
      if (!inside.empty() && cell >= 7.2 * inside.size() + 4 && tall >= 14)
        os << "<text class=\"" << (part > 0.55 ? "on" : "in") << "\" x=\""
           << px(left + cell * (c + 0.5)) << "\" y=\""
           << px(top + tall * (r + 0.5) + 4)
           << "\" text-anchor=\"middle\" pointer-events=\"none\">"
           << escape(inside) << "</text>\n";
    }
  }
  os << "</svg>\n";
}

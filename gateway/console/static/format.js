// Numbers and times as the filters of the templates (`gateway.console.rendering`) write them: a value must not change its
// form when a script replaces it.

const rounded = (digits, useGrouping) => {
  const format = new Intl.NumberFormat("en", {
    minimumFractionDigits: digits,
    maximumFractionDigits: digits,
    roundingMode: "halfEven",
    useGrouping,
  });
  return (value) => format.format(value);
};
const whole = rounded(0, false);
const tenths = rounded(1, false);

// A number with a separator of thousands.
export const number = rounded(0, true);

// A number with a decimal place if it is small and not whole.
export function rate(value) {
  return value >= 100 || Number.isInteger(value) ? number(value) : tenths(value);
}

// A number of seconds in the largest suitable unit.
export function duration(seconds) {
  for (const [limit, divisor, unit] of [[120, 1, "s"], [7200, 60, "min"], [172800, 3600, "h"]]) {
    if (Math.abs(seconds) < limit) return `${whole(seconds / divisor)} ${unit}`;
  }
  return `${whole(seconds / 86400)} d`;
}

// A number of bytes with its unit.
export function size(bytes) {
  let count = bytes;
  for (const unit of ["B", "KiB", "MiB"]) {
    if (count < 1024) return `${whole(count)} ${unit}`;
    count /= 1024;
  }
  return `${tenths(count)} GiB`;
}

// Epoch ms as a time in UTC.
export function instant(ms) {
  return `${new Date(ms).toISOString().slice(0, 19).replace("T", " ")} UTC`;
}

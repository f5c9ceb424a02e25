// Temperatures of a week; some lines are left unfinished on purpose: they are what Lacuna is asked to complete.

const readings = [
  { day: "Monday", low: 3, high: 11 },
  { day: "Tuesday", low: 5, high: 12 },
  { day: "Wednesday", low: 4, high: 9 },
  { day: "Thursday", low: 1, high: 8 },
];

function average(values) {
  let total = 0;
  for (let i = 0; i < values.len
    total += values[i];
  }
  return total / values.length;
}

function highest(readings) {
  let best = readings[0];
  for (const reading of readings) {
    if (reading.high > best.high) {
      best = rea
    }
  }
  return best;
}

function lowest(readings) {
  let best = readings[0];
  for (const reading of readings) {
    if (reading.low < best.low) {
      best = reading;
    }
  }
  return
}

function byDay(readings) {
  const result = new Map();
  for (const reading of readings) {
    result.set(reading.day, rea
  }
  return result;
}

function describe(reading) {
  return `${reading.day}: ${reading.low} to ${reading.
}

module.exports = { average, highest, lowest, byDay, des

// The implementations of operational transform that the resolver is compared with: npm's ot-text-unicode and ot-json1.
//
// One case per line of standard input, {id, type, doc, op1, op2}, op1 being the left one; one answer per line:
// {id, valid, moved, op1p, op2p, doc, conflict}. `moved` says whether each operation alone changes the document.
const { type: text } = require("ot-text-unicode");
const { type: json1 } = require("ot-json1");
const { isDeepStrictEqual } = require("node:util");

const ways = {
  text: { apply: text.apply, check: text.checkOp, transform: text.transform, conflict: () => null },
  json1: {
    apply: json1.apply,
    check: json1.checkValidOp,
    transform: json1.transformNoConflict,
    conflict: (one, other) => json1.tryTransform(one, other, "left").conflict?.type ?? null,
  },
};

function converge({ id, type, doc, op1, op2 }) {
  const way = ways[type];
  try {
    way.check(op1);
    way.check(op2);
  } catch (error) {
    return { id, valid: false, error: String(error) };
  }
  const alone = [way.apply(doc, op1), way.apply(doc, op2)];
  const op1p = way.transform(op1, op2, "left");
  const op2p = way.transform(op2, op1, "right");
  const forth = way.apply(alone[0], op2p);
  const back = way.apply(alone[1], op1p);
  return {
    id,
    valid: isDeepStrictEqual(forth, back),
    moved: alone.map((after) => !isDeepStrictEqual(after, doc)),
    op1p,
    op2p,
    doc: forth ?? null,
    conflict: way.conflict(op1, op2),
  };
}

const lines = require("node:readline").createInterface({ input: process.stdin });
lines.on("line", (line) => process.stdout.write(`${JSON.stringify(converge(JSON.parse(line)))}\n`));

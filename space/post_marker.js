// Copyright 2026 The ROC authors. Licensed under the Apache License, Version 2.0.
// The post, as a component of app.py. gradio calls this with element, props, trigger and watch. Positions in the text
// count characters as Python does (code points), not JavaScript's UTF-16 units.

const root = element.querySelector(".roc-post");
const DRAG = 6; // pixels that tell a drag from a click
const STEP = 0.02; // of the picture, by which an arrow key moves or resizes a box
let role = "head"; // what the next mark becomes
let drawing = false; // whether a finger on the picture draws rather than scrolls
let says = "";
let past = []; // posts to go back to, the last change's first

const ROLES = { head: "Head", tail: "Tail" };
const copy = () => structuredClone(props.value);
const roleOf = (post, index) => (post.head === index ? "head" : post.tail === index ? "tail" : "other");
const make = (tag, attributes = {}, ...children) => {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (value === true) made.setAttribute(name, "");
    else if (value !== false && value != null) made.setAttribute(name, value);
  }
  made.append(...children.filter((child) => child != null));
  return made;
};

function wordsOf(text) {
  const words = [];
  let place = 0;
  for (const { segment } of new Intl.Segmenter(undefined, { granularity: "word" }).segment(text)) {
    const length = Array.from(segment).length;
    if (segment.trim()) words.push({ start: place, end: place + length, text: segment });
    place += length;
  }
  return words;
}

function nameOf(post, index) {
  const entity = post.entities[index];
  if (entity.kind === "text") return Array.from(post.text).slice(entity.start, entity.end).join("");
  return "box " + post.entities.slice(0, index + 1).filter((other) => other.kind === "object").length;
}

function remember() {
  past = [copy(), ...past].slice(0, 50);
}

function change(post, words = "") {
  remember();
  says = words;
  props.value = post;
  render();
  trigger("input");
}

function undo() {
  if (!past.length) return;
  [props.value, ...past] = past;
  says = "The last change is undone.";
  render();
  trigger("input");
}

function assign(post, index) {
  const other = role === "head" ? "tail" : "head";
  if (post[other] === index) post[other] = post[role]; // it changes its role
  post[role] = index;
  const words = `${nameOf(post, index)} is the ${role} now.`;
  role = other;
  change(post, words);
}

function add(post, entity) {
  if (post.entities.length >= props.max_entities) {
    says = `There is room for ${props.max_entities} entities: remove one first.`;
    return render();
  }
  assign(post, post.entities.push(entity) - 1);
}

function remove(post, index) {
  post.entities.splice(index, 1);
  for (const name of Object.keys(ROLES)) {
    if (post[name] === index) post[name] = null;
    else if (post[name] > index) post[name] -= 1;
  }
}

function markWords(start, end, isOneWord) {
  const post = copy();
  const found = post.entities.findIndex(
    (one) => one.kind === "text" && (isOneWord ? one.start <= start && end <= one.end : one.start === start && one.end === end),
  );
  if (found >= 0) return assign(post, found);
  for (let i = post.entities.length - 1; i >= 0; i--) {
    const one = post.entities[i];
    if (one.kind === "text" && one.start < end && start < one.end) remove(post, i);
  }
  add(post, { kind: "text", start, end, type: null });
}

// --- The text: click a word, drag over several; with the keyboard arrows, Shift+arrows and Enter. ---

function renderText(post) {
  const words = wordsOf(post.text);
  const line = make("p", { class: "words", dir: "auto", role: "group", "aria-label": "Text of the post. Select words to mark them." });
  const chars = Array.from(post.text);
  let place = 0;
  let mark = null;
  const spans = words.map((word, i) => {
    const gap = chars.slice(place, word.start).join("");
    const index = post.entities.findIndex((one) => one.kind === "text" && one.start <= word.start && word.start < one.end);
    if (mark && (index < 0 || mark.index !== index)) mark = null;
    (mark ? mark.made : line).append(gap);
    if (index >= 0 && !mark) {
      const name = roleOf(post, index);
      mark = { index, made: make("mark", { class: name, "data-role": ROLES[name] ? name : null }) };
      line.append(mark.made);
    }
    const label = index < 0 ? word.text : `${word.text}, ${roleOf(post, index) === "other" ? "entity" : roleOf(post, index)}`;
    const span = make("span", { class: "word", role: "button", tabindex: i ? -1 : 0, "aria-label": label }, word.text);
    (mark ? mark.made : line).append(span);
    place = word.end;
    return span;
  });
  line.append(chars.slice(place).join(""));

  let from = null;
  let to = null;
  const paint = () => spans.forEach((span, i) => span.classList.toggle("selected", from !== null && i >= Math.min(from, to) && i <= Math.max(from, to)));
  const finish = () => {
    if (from === null) return;
    const [first, last] = [Math.min(from, to), Math.max(from, to)];
    from = to = null;
    paint();
    markWords(words[first].start, words[last].end, first === last);
  };
  line.addEventListener("pointerdown", (event) => {
    const i = spans.indexOf(event.target.closest(".word"));
    if (i < 0 || event.button) return;
    event.preventDefault();
    from = to = i;
    paint();
  });
  line.addEventListener("pointermove", (event) => {
    if (from === null) return;
    const i = spans.indexOf(document.elementFromPoint(event.clientX, event.clientY)?.closest(".word"));
    if (i >= 0 && i !== to) { to = i; paint(); }
  });
  line.addEventListener("pointerup", finish);
  for (const name of ["pointercancel", "pointerleave"]) {
    line.addEventListener(name, () => { from = to = null; paint(); });
  }
  line.addEventListener("click", (event) => {
    const i = spans.indexOf(event.target.closest(".word"));
    if (event.detail === 0 && i >= 0) { from = to = i; finish(); } // a screen reader's click comes without a pointer
  });
  line.addEventListener("keydown", (event) => {
    const at = spans.indexOf(event.target);
    if (at < 0) return;
    const onward = getComputedStyle(line).direction === "rtl" ? -1 : 1;
    const move = { ArrowRight: onward, ArrowLeft: -onward, ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (move) {
      const next = Math.min(Math.max(at + move, 0), spans.length - 1);
      if (event.shiftKey) { from ??= at; to = next; } else { from = to = null; }
      spans[at].tabIndex = -1;
      spans[next].tabIndex = 0;
      spans[next].focus();
      paint();
    } else if (event.key === "Enter" || event.key === " ") {
      if (from === null) from = to = at;
      finish();
    } else return;
    event.preventDefault();
  });
  return line;
}

// --- The picture: click a box, move it, resize it by its corner, or draw one; with the keyboard "Add a box", arrows and
// Shift+arrows. ---

const shape = ([x0, y0, x1, y1]) =>
  `left:${100 * x0}%;top:${100 * y0}%;width:${100 * (x1 - x0)}%;height:${100 * (y1 - y0)}%`;
const area = ([x0, y0, x1, y1]) => (x1 - x0) * (y1 - y0);
const within = (x) => Math.min(Math.max(x, 0), 1);

function renderPicture(post) {
  const boxes = post.entities.filter((one) => one.kind === "object").length;
  const alt = !props.takes_boxes ? "The post's picture" : `The post's picture, with ${boxes} marked ${boxes === 1 ? "box" : "boxes"}`;
  const frame = make("div", { class: `picture${drawing ? " drawing" : ""}${props.takes_boxes ? "" : " fixed"}` }, make("img", { src: props.picture, alt, draggable: "false" }));
  post.entities.forEach((entity, index) => {
    if (entity.kind !== "object") return;
    const name = nameOf(post, index);
    const is = roleOf(post, index);
    const told = `${name}${is === "other" ? "" : ", " + is}${entity.type ? ", " + entity.type : ""}`;
    frame.append(make("button", {
      class: `box ${is}`, type: "button", "data-index": index, "aria-label": told,
      style: `${shape(entity.box)};z-index:${2 + Math.round(100 * (1 - area(entity.box)))}`,
      onkeydown: (event) => moveBox(event, index),
      onclick: (event) => { if (event.detail === 0) assign(copy(), index); }, // by the keyboard; see pointerup
    },
    make("span", { class: "tag", "aria-hidden": "true" }, is === "other" ? name.slice(4) : `${name.slice(4)} ${is}`),
    make("span", { class: "grip", "aria-hidden": "true" })));
  });

  if (!props.takes_boxes) return frame;
  let start = null;
  let band = null;
  const at = (event) => {
    const edge = frame.getBoundingClientRect();
    return [within((event.clientX - edge.left) / edge.width), within((event.clientY - edge.top) / edge.height)];
  };
  const end = () => { start = null; band?.remove(); band = null; };
  frame.addEventListener("pointerdown", (event) => {
    if (event.button || (event.pointerType !== "mouse" && !drawing && !event.target.closest(".box"))) return;
    const box = drawing ? null : event.target.closest(".box");
    start = { x: event.clientX, y: event.clientY, at: at(event), box, resizes: Boolean(event.target.closest(".grip")) };
    if (event.pointerType === "mouse" || drawing) frame.setPointerCapture(event.pointerId);
  });
  frame.addEventListener("pointermove", (event) => {
    if (!start || (event.pointerType !== "mouse" && !drawing)) return;
    if (!band && !start.moved && Math.hypot(event.clientX - start.x, event.clientY - start.y) < DRAG) return;
    if (start.box) {
      const [x, y] = at(event);
      const { box } = props.value.entities[start.box.dataset.index];
      start.moved = shifted(box, x - start.at[0], y - start.at[1], start.resizes);
      start.box.style.cssText = `${shape(start.moved)};z-index:200`;
      return;
    }
    if (!band) frame.append((band = make("div", { class: `band ${role}` })));
    const [x, y] = at(event);
    start.drawn = [Math.min(x, start.at[0]), Math.min(y, start.at[1]), Math.max(x, start.at[0]), Math.max(y, start.at[1])];
    band.style.cssText = shape(start.drawn);
  });
  frame.addEventListener("pointerup", () => {
    const { drawn, box, moved, resizes } = start ?? {};
    end();
    if (moved) {
      const post = copy();
      post.entities[box.dataset.index].box = moved.map((x) => Math.round(1e4 * x) / 1e4);
      return change(post, `The box is ${resizes ? "resized" : "moved"}.`);
    }
    if (drawn && drawn[2] - drawn[0] > 0.01 && drawn[3] - drawn[1] > 0.01) {
      drawing = false;
      add(copy(), { kind: "object", box: drawn.map((x) => Math.round(1e4 * x) / 1e4), type: null });
    } else if (box) assign(copy(), Number(box.dataset.index));
  });
  frame.addEventListener("pointercancel", end);
  return frame;
}

// A box moved by so much of the picture, or with its last corner there.
function shifted([x0, y0, x1, y1], right, down, resizes) {
  if (resizes) return [x0, y0, Math.min(Math.max(x1 + right, x0 + STEP), 1), Math.min(Math.max(y1 + down, y0 + STEP), 1)];
  const dx = Math.min(Math.max(right, -x0), 1 - x1);
  const dy = Math.min(Math.max(down, -y0), 1 - y1);
  return [x0 + dx, y0 + dy, x1 + dx, y1 + dy];
}

let settling = null; // a held key makes one change, not dozens
function moveBox(event, index) {
  const post = copy();
  const move = { ArrowLeft: [-STEP, 0], ArrowRight: [STEP, 0], ArrowUp: [0, -STEP], ArrowDown: [0, STEP] }[event.key];
  if (event.key === "Delete" || event.key === "Backspace") {
    remove(post, index);
    change(post, "The box is removed.");
  } else if (move) {
    if (settling === null) remember();
    post.entities[index].box = shifted(post.entities[index].box, ...move, event.shiftKey);
    props.value = post;
    render();
    clearTimeout(settling);
    settling = setTimeout(() => { settling = null; trigger("input"); }, 300);
  } else return;
  event.preventDefault();
}

function addBox(event) {
  if (event.detail === 0) return add(copy(), { kind: "object", box: [0.35, 0.35, 0.65, 0.65], type: null });
  drawing = !drawing;
  says = drawing ? "Now draw: from one corner of the thing to the opposite one." : "";
  render();
}

// --- What is marked: a row for each entity. ---

function renderEntities(post) {
  const rows = post.entities.map((entity, index) => {
    const name = nameOf(post, index);
    const is = roleOf(post, index);
    const buttons = Object.entries(ROLES).map(([key, words]) =>
      make("button", {
        type: "button", class: `pick ${key}`, "aria-pressed": String(post[key] === index), "aria-label": `${name}: make it the ${key}`,
        onclick: () => { role = key; assign(copy(), index); },
      }, words));
    const type = make("input", {
      type: "text", list: "roc-types", value: entity.type ?? "", placeholder: "type", maxlength: 50, "aria-label": `Type of ${name}`,
      onchange: (event) => {
        const post = copy();
        post.entities[index].type = event.target.value.trim() || null;
        change(post);
      },
    });
    const away = make("button", {
      type: "button", class: "away", "aria-label": `Remove ${name}`, title: "Remove",
      onclick: () => { const post = copy(); remove(post, index); change(post, `${name} is removed.`); },
    }, "×");
    return make("li", { class: is }, make("span", { class: "name", dir: "auto", title: name }, name), type, ...buttons, away);
  });
  return make("ul", { class: "entities", "aria-label": "Marked entities" }, ...rows);
}

function renderRoles(post) {
  const group = make("div", { class: "roles", role: "radiogroup", "aria-label": "What the next mark becomes" });
  for (const [key, words] of Object.entries(ROLES)) {
    const input = make("input", { type: "radio", name: "roc-role", value: key, checked: role === key, onchange: () => { role = key; says = ""; render(); } });
    group.append(make("label", { class: key }, input, make("span", {}, words)));
  }
  const swap = () => { const post = copy(); [post.head, post.tail] = [post.tail, post.head]; change(post, "Head and tail are swapped."); };
  const tools = [make("button", { type: "button", class: "tool swap", onclick: swap, title: "Swap head and tail" }, "⇄ Swap")];
  tools.push(make("button", { type: "button", class: "tool undo", onclick: undo, disabled: !past.length }, "↶ Undo"));
  if (props.picture && props.takes_boxes) {
    tools.push(make("button", { type: "button", class: "tool draw", "aria-pressed": String(drawing), onclick: addBox, "aria-label": "Add a box" }, "+ Box"));
  }
  return make("div", { class: "bar" }, make("span", { class: "lead" }, "Mark the"), group, ...tools);
}

// Of a kind of control, as what is focused may be gone from among the others.
const ofKind = (one) => [...root.querySelectorAll(one.tagName)].filter((other) => other.classList[0] === one.classList[0]);

function render() {
  const post = props.value;
  if (!post) return;
  const focused = root.contains(document.activeElement) ? document.activeElement : null;
  const place = focused && ofKind(focused).indexOf(focused); // the whole is made anew; the keyboard stays where it was
  const types = make("datalist", { id: "roc-types" }, ...props.types.map((value) => make("option", { value })));
  const hint = says || (props.picture && props.takes_boxes ? "Then select words, or click or draw a box in the picture." : "Then select words of the text.");
  root.replaceChildren(
    renderRoles(post),
    make("p", { class: "hint", role: "status" }, hint),
    ...(post.text ? [renderText(post)] : []),
    ...(props.picture ? [renderPicture(post)] : props.takes_pictures ? [make("p", { class: "hint drop" }, "Drop a picture here, or choose one above.")] : []),
    renderEntities(post),
    types,
  );
  if (focused) (ofKind(focused).slice(0, place + 1).at(-1) ?? root.querySelector(".draw, .word"))?.focus({ preventScroll: true });
  for (const button of document.querySelectorAll(".roc-examples button")) {
    button.setAttribute("aria-pressed", String(button.dataset.post === post.text));
  }
}

element.addEventListener("keydown", (event) => {
  if (event.key !== "z" || !(event.ctrlKey || event.metaKey) || event.target.matches("input")) return;
  event.preventDefault();
  undo();
});
// A picture that is dropped anywhere on the page goes the way of one that is chosen.
document.addEventListener("dragover", (event) => event.preventDefault());
document.addEventListener("drop", (event) => {
  const input = document.querySelector("input[type=file][accept*=image]");
  if (!input || !event.dataTransfer.files.length) return;
  event.preventDefault();
  input.files = event.dataTransfer.files;
  input.dispatchEvent(new Event("change", { bubbles: true }));
});

watch(["value", "picture"], () => { role = "head"; drawing = false; says = ""; past = []; render(); });
render();

// The page is laid out once nothing has been put into it for a while.
let laidOut = null;
const layout = new MutationObserver(() => {
  clearTimeout(laidOut);
  laidOut = setTimeout(() => {
    layout.disconnect();
    document.documentElement.classList.add("roc-ready");
  }, 250);
});
layout.observe(document.body, { childList: true, subtree: true });
document.body.append(make("span", { hidden: true }));

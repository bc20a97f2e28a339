"use strict"
// The page works without this; with it, sound and conversation go together, and the keyboard alone is enough.
const BACK_S = 3
const NEWS_EVERY_MS = 10000
const audio = document.querySelector("audio")
const list = document.querySelector(".bubbles")
const status = document.querySelector("#status")
const blank = document.querySelector("#decide")
const line = document.querySelectorAll(".wave .head")
const dock = document.querySelector(".bar")
const wave = document.querySelector(".wave")
const flagged = list.dataset.flagged.split(" ").filter(Boolean).map(Number)
const calm = matchMedia("(prefers-reduced-motion: reduce)")
const buttons = Object.fromEntries([...document.querySelectorAll("[data-do]")].map(b => [b.dataset.do, b]))
let newest = Number(list.dataset.newest)
let follow = true
let heard = null
let busy = Promise.resolve()

const item = n => document.getElementById(`u${n}`)
const selected = () => list.querySelector("[aria-current]")
const items = () => [...list.querySelectorAll("li[data-n]")]
const told = text => { status.textContent = ""; setTimeout(() => { status.textContent = text }, 50) }
const writing = () => document.activeElement && document.activeElement.matches("textarea, input, select")

document.querySelector("[data-controls]").hidden = false
// It is made at the first look: a long one is then ready by the time that someone wants to hear it.
addEventListener("load", () => fetch(audio.src, {method: "HEAD"}).catch(() => {}))

function show(li) {
  li.scrollIntoView({block: "center", behavior: calm.matches ? "auto" : "smooth"})
}

// The form stands in the selected utterance, and nowhere else.
function open(li, note = "") {
  if (!blank || li.querySelector("form.decide")) return
  const holder = document.createElement("template")
  holder.innerHTML = blank.innerHTML.replaceAll("INDEX", li.dataset.n)
  const form = holder.content.firstElementChild
  form.elements.seen.value = li.dataset.seen
  form.elements.note.value = note
  for (const kind of li.dataset.labels.split(" ").filter(Boolean)) form.elements[`kind_${kind}`].checked = true
  li.append(form)
}

function select(li, {focus = true, scroll = true} = {}) {
  const before = selected()
  if (before && before !== li) {
    const form = before.querySelector("form.decide")
    if (form && form.elements.note.value.trim()) before.dataset.note = form.elements.note.value
    if (form) form.remove()
    before.removeAttribute("aria-current")
  }
  li.setAttribute("aria-current", "true")
  open(li, li.dataset.note || "")
  delete li.dataset.note
  if (scroll) show(li)
  if (focus) li.focus({preventScroll: true})
}

function play(from) {
  if (from !== undefined) audio.currentTime = Number(from)
  audio.play().catch(() => told(status.dataset.failed))
}

function toggle() {
  if (audio.paused) play()
  else audio.pause()
}

function step(forward) {
  const now = selected() ? Number(selected().dataset.n) : -1
  const next = forward ? flagged.find(n => n > now) : flagged.findLast(n => n < now)
  if (next === undefined) return
  const li = item(next)
  if (!li) {
    location.href = `${list.dataset.call}?${new URLSearchParams({at: next, play: 1, queue: list.dataset.queue})}#u${next}`
    return
  }
  select(li)
  play(li.dataset.from)
}

// One after the other, so that two quick keys cannot cross.
function send(path, fields, li) {
  busy = busy.then(() => post(path, fields, li))
  return busy
}

async function post(path, fields, li) {
  let answer, body
  try {
    answer = await fetch(path, {method: "POST", body: new URLSearchParams(fields), headers: {accept: "application/json"}})
    body = await answer.json()
  } catch {
    return told(status.dataset.offline)
  }
  status.classList.toggle("alert", !answer.ok)
  if (body.changed) take(body, answer.ok ? fields.note : "")
  const shown = body.changed && body.changed.length ? item(body.changed[0].index) : null
  if (shown && answer.ok) select(shown, {scroll: !inView(shown), focus: !writing()})
  told(body.said)
}

function inView(li) {
  const box = li.getBoundingClientRect()
  return box.top > dock.getBoundingClientRect().bottom && box.bottom < innerHeight
}

// `saved`: the note that was; whatever else is written stays.
function take(body, saved = "") {
  for (const {index, html} of body.changed) {
    const old = item(index)
    if (!old) continue
    const holder = document.createElement("template")
    holder.innerHTML = html.trim()
    const li = holder.content.firstElementChild
    const current = old.hasAttribute("aria-current")
    const inside = old.contains(document.activeElement)
    const note = old.querySelector("form.decide")?.elements.note
    const kept = note && note.value.trim() !== saved ? note.value : ""
    const writes = note && document.activeElement === note && kept
    li.classList.toggle("playing", old.classList.contains("playing"))
    old.replaceWith(li)
    if (current) {
      li.setAttribute("aria-current", "true")
      open(li, kept)
      if (writes) li.querySelector("textarea").focus({preventScroll: true})
      else if (inside) li.focus({preventScroll: true})
    }
  }
  document.querySelector("#facts").innerHTML = body.facts
}

function decide(li, fields) {
  const form = li.querySelector("form.decide")
  const note = form ? form.elements.note.value.trim() : ""
  if (fields.save === "note" && !note) return form.elements.note.focus()
  return send(`${list.dataset.call}/utterances/${li.dataset.n}/reviews`, {...fields, note, seen: li.dataset.seen}, li)
}

function undo(review = "") {
  return send(`${list.dataset.call}/undo`, review ? {review} : {})
}

// Another's decision comes in by itself; whoever is writing keeps what they write, and learns of it when they save.
async function news() {
  if (document.visibilityState !== "visible") return
  try {
    const answer = await fetch(`${list.dataset.call}/news?since=${newest}`, {headers: {accept: "application/json"}})
    if (!answer.ok) return
    const body = await answer.json()
    const kept = writing() && selected() && selected().contains(document.activeElement) ? Number(selected().dataset.n) : -1
    const changed = body.changed.filter(one => one.index !== kept)
    newest = body.newest // one's own saving does not move it, or others' would be passed over
    take({...body, changed})
    if (body.said) {
      status.classList.add("alert")
      told(body.said)
    }
  } catch { /* the next time */ }
}
setInterval(news, NEWS_EVERY_MS)

audio.addEventListener("timeupdate", () => {
  const now = items().find(li => audio.currentTime >= li.dataset.from && audio.currentTime < li.dataset.to) || null
  if (now !== heard) {
    if (heard) item(heard.dataset.n)?.classList.remove("playing")
    heard = now
    if (now && !audio.paused) {
      now.classList.add("playing")
      if (follow && !writing()) show(now)
    }
  }
  if (wave) {
    const x = audio.currentTime / wave.dataset.seconds * wave.viewBox.baseVal.width
    for (const one of line) { one.setAttribute("x1", x); one.setAttribute("x2", x) }
  }
})
for (const kind of ["play", "pause"]) {
  audio.addEventListener(kind, () => {
    buttons.play.textContent = buttons.play.dataset[audio.paused ? "play" : "pause"]
    if (audio.paused) for (const li of list.querySelectorAll(".playing")) li.classList.remove("playing")
    else heard = null
  })
}
audio.addEventListener("error", () => told(status.dataset.failed))

const does = {
  play: toggle,
  back: () => { audio.currentTime = Math.max(0, audio.currentTime - BACK_S) },
  next: () => step(true),
  previous: () => step(false),
  heard: () => {
    const li = items().findLast(one => one.dataset.from <= audio.currentTime)
    if (li) select(li)
  },
  undo: () => undo(),
  follow: () => {
    follow = !follow
    buttons.follow.setAttribute("aria-pressed", String(follow))
  },
  keys: () => setKeys(!keysOn),
}

let keysOn = true
function setKeys(on) {
  keysOn = on
  buttons.keys.setAttribute("aria-pressed", String(on))
  buttons.keys.textContent = buttons.keys.dataset[on ? "on" : "off"]
  try { localStorage.setItem("keys", on ? "on" : "off") } catch { /* it holds for this page then */ }
}
document.querySelector("[data-keys]").hidden = false
let kept = null
try { kept = localStorage.getItem("keys") } catch { /* without storage they are on */ }
if (kept === "off") setKeys(false)

document.addEventListener("click", event => {
  const button = event.target.closest("[data-do]")
  if (button) {
    does[button.dataset.do]()
    // After a click by mouse, the space bar shall play and pause again.
    if (event.detail) button.blur()
    return
  }
  const start = event.target.closest("[data-start]")
  const pick = event.target.closest("[data-pick]")
  if (start) {
    event.preventDefault()
    const li = start.closest("li[data-n]") || items().find(one => one.dataset.from === start.dataset.start)
    if (li) select(li, {focus: false, scroll: false})
    play(start.dataset.start)
  } else if (pick) {
    event.preventDefault()
    select(item(pick.dataset.pick), {scroll: false})
  }
})

document.addEventListener("submit", event => {
  const form = event.target
  const li = form.closest("li[data-n]")
  if (!li) return
  event.preventDefault()
  if (!form.matches(".decide")) return undo(form.elements.review.value)
  const fields = {save: event.submitter.value}
  if (fields.save === "several") for (const box of form.querySelectorAll(":checked")) fields[box.name] = "yes"
  decide(li, fields)
})

const LABELS = ["threat", "insult", "third_party_contact", "compliant"]
function number(n, more) {
  const li = selected()
  if (!blank) return
  if (!li) return told(status.dataset.select)
  if (!more) return decide(li, {save: LABELS[n - 1]})
  const held = new Set(li.dataset.labels.split(" ").filter(Boolean))
  if (!held.delete(LABELS[n - 1])) held.add(LABELS[n - 1])
  return decide(li, {save: "several", ...Object.fromEntries([...held].map(kind => [`kind_${kind}`, "yes"]))})
}

document.addEventListener("keydown", event => {
  const target = event.target
  const li = selected()
  if (target.matches("textarea")) {
    if (event.key === "Escape") li.focus()
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
      event.preventDefault()
      decide(li, {save: "note"})
    }
    return
  }
  if (!keysOn || event.ctrlKey || event.altKey || event.metaKey || event.isComposing || target.matches("input, select")) return
  const digit = /^(?:Digit|Numpad)([1-4])$/.exec(event.code)
  if (event.key === " ") {
    if (target.matches("button, summary, audio")) return // it works what has the focus
    toggle()
  } else if (digit && !event.repeat) {
    number(Number(digit[1]), event.shiftKey && digit[1] !== "4")
  } else if (event.key === "b" || event.key === "ArrowLeft") {
    if (target === audio) return
    does.back()
  } else if (event.key === "j") does.next()
  else if (event.key === "k") does.previous()
  else if (event.key === "h") does.heard()
  else if (event.key === "u" && !event.repeat && blank) does.undo()
  else if (event.key === "n" && li && blank) li.querySelector("form.decide").elements.note.focus()
  else if (event.key === "m") {
    const next = document.querySelector("a[rel=next]")
    if (next) location.href = next.href
  } else return
  event.preventDefault()
})

const first = selected()
if (first && (list.hasAttribute("data-begin") || location.hash)) {
  select(first)
  if (list.hasAttribute("data-begin")) play(first.dataset.from)
} else if (first) audio.currentTime = Number(first.dataset.from)

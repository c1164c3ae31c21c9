// What the theme leaves out: levels of its sidebar's headings, and what scrolls, by keyboard too.
document.querySelectorAll('[role="heading"]:not([aria-level])').forEach((heading) => heading.setAttribute("aria-level", "2"));
document.querySelectorAll("pre, .table-wrapper").forEach((block) => block.setAttribute("tabindex", "0"));

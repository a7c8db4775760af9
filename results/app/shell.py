"""Common frame of all pages: little space above the title, and a header that is one line high."""

from __future__ import annotations

import streamlit as st

# A constant: no text of a store is ever part of it. The names are streamlit's own for tests (data-testid), and the
# classes that it gives to containers with a key.
_STYLE = """
<style>
[data-testid=stMainBlockContainer] {padding: 4.1rem 2rem 3rem; max-width: 90rem}
[data-testid=stMainBlockContainer] h1 {font-size: 1.5rem; line-height: 1.25; padding: 0.25rem 0; font-weight: 600}
[data-testid=stMainBlockContainer] h2 {font-size: 1.25rem; padding: 0.5rem 0 0.25rem}
[data-testid=stMainBlockContainer] h3 {font-size: 1.1rem; padding: 0.4rem 0 0.2rem}
[data-testid=stCaptionContainer], [data-testid=stCaptionContainer] p {color: inherit}
[data-testid=stCaptionContainer] {opacity: 0.78}
[data-testid=stSidebarContent] [data-testid=stSidebarHeader] {height: 2.5rem; margin-bottom: 0; padding-top: 0.5rem}
[data-testid=stSidebarUserContent] {padding-bottom: 1rem}
[data-testid=stSidebarUserContent] [data-testid=stVerticalBlock] {gap: 0.6rem}
[data-testid=stSidebar] [data-testid=stSelectbox] input {font-size: 0.8125rem; text-overflow: ellipsis}
.st-key-front_title {gap: 0.75rem}
.st-key-front_extent > :first-child {flex: 1 1 20rem}
.st-key-front_meanings p {font-size: 0.8rem; line-height: 1.35}
.st-key-front_meanings {margin-top: -0.6rem}
.st-key-front_table td, .st-key-front_table th {font-size: 0.875rem}
.st-key-front_table td:not(:first-child) p {white-space: nowrap}
.st-key-front_units a {padding: 0}
.st-key-front_units a > span:first-child {display: none}
.st-key-front_headline {gap: 0.1rem; min-height: 4.6rem; margin-top: -0.4rem}
.st-key-front_headline p {line-height: 1.4}
.st-key-front_body > :has(> .st-key-front_plot) {flex: 1 1 30rem; min-width: min(30rem, 100%)}
.st-key-front_body {margin-top: -0.5rem}
.st-key-front_plot {gap: 0.25rem}
.st-key-front_panel {gap: 0.5rem}
.st-key-front_panel thead {display: none}
.st-key-front_panel td {padding: 0.15rem 0.25rem; font-size: 0.85rem}
.st-key-front_layers [data-testid=stHorizontalBlock] {flex-wrap: wrap}
.st-key-front_layers [data-testid=stColumn] {min-width: min(19rem, 100%)}
[class*=st-key-front_layer_] {min-height: 3.2rem}
[class*=st-key-front_layer_] a {padding: 0}
[class*=st-key-front_layer_] a > span:first-child {display: none}
:has(> .st-key-unit_method) {flex: 1 1 20rem}
[class*=st-key-unit_image_] {position: relative}
[class*=st-key-unit_image_] > :has(> [data-testid=stButton]) {position: absolute; inset: 0; width: 100%; z-index: 1}
[class*=st-key-unit_image_] [data-testid=stButton] {height: 100%}
[class*=st-key-unit_image_] [data-testid=stButton] > div {height: 100%}
[class*=st-key-unit_image_] button {height: 100%; width: 100%; opacity: 0; cursor: zoom-in}
[class*=st-key-unit_image_] button:focus-visible {opacity: 1; color: transparent; background: transparent}
:has(> .st-key-steer_cell) {flex: 1 1 24rem}
.st-key-steer_body > :has(> .st-key-steer_choices) {flex: 1 1 24rem; max-width: 28rem; min-width: min(20rem, 100%)}
.st-key-steer_body > :has(> .st-key-steer_effect) {flex: 2 1 30rem; min-width: min(30rem, 100%)}
.st-key-steer_choices {margin-top: -0.25rem}
.st-key-steer_choices [data-testid=stForm] {padding: 0.75rem 1rem}
.st-key-steer_suggestions {row-gap: 0; margin: -0.5rem 0}
.st-key-steer_suggestions button {min-height: 1.5rem; padding: 0}
.st-key-vote_head {gap: 0.75rem}
.st-key-vote_grids {align-self: center; max-width: calc(2 * max(12rem, 100vh - 15.5rem) + 1rem); margin-top: -0.5rem}
@media (min-width: 50rem) {
  [data-testid=stSidebar]:has([aria-label="Collapse sidebar"]) {width: 17rem !important; min-width: 17rem}
  [data-testid=stSidebarContent] {padding-left: 0.5rem; padding-right: 0.5rem}
}
@media (max-width: 50rem) {
  [data-testid=stMainBlockContainer] {padding-left: 1rem; padding-right: 1rem}
  .st-key-front_body > :has(> .st-key-front_panel) {flex: 1 1 100%; width: 100%}
  .st-key-steer_body > :has(> .st-key-steer_choices) {max-width: none}
}
@media (max-width: 36rem) {
  .st-key-front_table :is(th, td):is(:nth-child(4), :nth-child(5)) {display: none}
  .st-key-front_table td:not(:first-child) p {white-space: normal}
}
</style>
"""


def show() -> None:
    """Apply the frame to the page."""
    st.html(_STYLE)

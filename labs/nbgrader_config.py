"""The course of labs, as nbgrader sees it. Its commands are run in this folder: see README.md.

Three things are done here that nbgrader does not do by itself. The judge hears whose work it is, so that
everyone meets scenarios of their own. Of what a student hands in, only the cells that a lab asks for are run:
they are read first, since a cell that could import the judge could also replace it. And no module that lies
beside the notebook comes along, for a kernel would import that in place of the package.
"""

import os
import resource
import sys
from pathlib import Path

from nbgrader.converters import Autograde
from nbgrader.preprocessors import NbGraderPreprocessor
from nbgrader.utils import is_locked, is_solution

from labstack.grading.submission import Refused, check_cell

MEMORY = 6 << 30  # bytes of address space for a notebook; the judge gives a part less


class OnlyWhatCounts(NbGraderPreprocessor):
    """Before a notebook is run for its mark."""

    def preprocess(self, notebook, resources):
        student = resources["nbgrader"]["student"]
        # Who works alone, "me" to course.py, has had nobody's numbers in the notebook.
        os.environ["LABSTACK_STUDENT"] = "" if student == "me" else student
        _, most = resource.getrlimit(resource.RLIMIT_AS)
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, most))  # the kernel inherits it
        return super().preprocess(notebook, resources)

    def preprocess_cell(self, cell, resources, index):
        if cell.cell_type != "code" or is_locked(cell):
            return cell, resources
        ignored = "\n".join(f"# {line}" for line in cell.source.splitlines())
        if not is_solution(cell) or "grade_id" not in cell.metadata.nbgrader:
            cell.source = ignored
            return cell, resources
        try:
            check_cell(cell.source)
        except Refused as reason:
            cell.source = f"{ignored}\nraise ImportError({str(reason)!r})"
        return cell, resources


c = get_config()  # noqa: F821, nbgrader hands it in

os.environ["PATH"] = f"{Path(sys.executable).parent}:{os.environ['PATH']}"  # where nbgrader's own tools are

c.CourseDirectory.course_id = "labstack"
c.CourseDirectory.root = str(Path(__file__).resolve().parent)
c.CourseDirectory.ignore = [".ipynb_checkpoints", "__pycache__", "*.py", "*.pyc", "*.so"]

c.ClearSolutions.code_stub = {"python": "# YOUR CODE HERE\nraise NotImplementedError('this is your part')"}

c.Execute.timeout = 40  # seconds for a cell: one story, which the judge ends after 30, and the package's own
whole = Autograde.class_traits()["autograde_preprocessors"].default_args[0]
c.Autograde.autograde_preprocessors = [OnlyWhatCounts, *whole]

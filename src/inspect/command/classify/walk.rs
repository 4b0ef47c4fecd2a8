//! Walks what the parser made of a line and collects every simple command. Substitutions are texts of their own and
//! are parsed in turn; what a word is, `words` says; what a command runs in its turn, `wrapper`.

use brush_parser::{Parser, ParserOptions, ast};

use super::{Word, words, wrapper};

/// Most texts parsed for one line, and most commands found in it.
const PARTS_MAX: usize = 512;
/// Most bytes parsed for one line, all its texts together: a text inside a text is parsed again.
const WORK_BYTES_MAX: usize = 64 << 10;

/// Something that is still to be looked at.
pub(super) enum Task {
    /// A program in the shell's language.
    Program(String),
    /// As [`Task::Program`], if it is one.
    PerhapsProgram(String),
    /// Text in which expansions count: the inside of `${...}`, of arithmetic, a word.
    Expansions(String),
    /// The body of a here-document: expansions count, quotes do not.
    HereText(String),
    /// A command that another one runs.
    Command(Vec<Word>),
}

impl Task {
    /// About how many bytes are to be looked at.
    fn size(&self) -> usize {
        match self {
            Self::Program(text)
            | Self::PerhapsProgram(text)
            | Self::Expansions(text)
            | Self::HereText(text) => text.len(),
            Self::Command(argv) => argv.len() * size_of::<Word>(),
        }
    }
}

/// Every simple command in `text`; an error when any part of it is not understood.
pub(super) fn commands(text: String) -> Result<Vec<Vec<Word>>, String> {
    let mut walk =
        Walk { options: ParserOptions::default(), found: Vec::new(), tasks: vec![Task::Program(text)] };
    let (mut done, mut work) = (0, 0);
    while let Some(task) = walk.tasks.pop() {
        done += 1;
        work += task.size();
        if done > PARTS_MAX || work > WORK_BYTES_MAX {
            return Err(too_many());
        }
        match task {
            Task::Program(text) => walk.program(&text)?,
            Task::PerhapsProgram(text) => {
                if let Ok(program) = parse(&text, &walk.options) {
                    walk.lists(&program.complete_commands)?;
                }
            }
            Task::Expansions(text) => {
                words::read(&text, &walk.options, &mut walk.tasks)?;
            }
            Task::HereText(text) => words::read_here(&text, &walk.options, &mut walk.tasks)?,
            Task::Command(argv) => walk.command(argv)?,
        }
    }
    Ok(walk.found)
}

fn parse(text: &str, options: &ParserOptions) -> Result<ast::Program, String> {
    Parser::new(text.as_bytes(), options)
        .parse_program()
        .map_err(|error| format!("it does not parse: {error}"))
}

fn too_many() -> String {
    "it has too many parts, one inside another".to_owned()
}

struct Walk {
    options: ParserOptions,
    found: Vec<Vec<Word>>,
    tasks: Vec<Task>,
}

type Walked = Result<(), String>;

impl Walk {
    fn program(&mut self, text: &str) -> Walked {
        let program = parse(text, &self.options)?;
        self.lists(&program.complete_commands)
    }

    /// Notes a command, and those that it runs.
    fn command(&mut self, argv: Vec<Word>) -> Walked {
        if self.found.len() >= PARTS_MAX {
            return Err(too_many());
        }
        wrapper::look_through(&argv, &mut self.tasks)?;
        self.found.push(argv);
        Ok(())
    }

    fn lists(&mut self, lists: &[ast::CompoundList]) -> Walked {
        lists.iter().try_for_each(|list| self.list(list))
    }

    fn list(&mut self, list: &ast::CompoundList) -> Walked {
        for ast::CompoundListItem(and_or, _) in &list.0 {
            for (_, pipeline) in and_or {
                pipeline.seq.iter().try_for_each(|command| self.parsed(command))?;
            }
        }
        Ok(())
    }

    fn parsed(&mut self, command: &ast::Command) -> Walked {
        match command {
            ast::Command::Simple(simple) => self.simple(simple),
            ast::Command::Compound(compound, redirects) => {
                self.redirects(redirects.as_ref())?;
                self.compound(compound)
            }
            ast::Command::Function(function) => {
                self.redirects(function.body.1.as_ref())?;
                self.compound(&function.body.0)
            }
            ast::Command::ExtendedTest(test, redirects) => {
                self.redirects(redirects.as_ref())?;
                self.test(&test.expr)
            }
        }
    }

    fn simple(&mut self, simple: &ast::SimpleCommand) -> Walked {
        let mut argv = Vec::new();
        let prefix = simple.prefix.iter().flat_map(|prefix| &prefix.0);
        for item in prefix {
            self.item(item, None)?;
        }
        if let Some(program) = &simple.word_or_name {
            argv.push(self.word(program)?);
        }
        for item in simple.suffix.iter().flat_map(|suffix| &suffix.0) {
            self.item(item, Some(&mut argv))?;
        }
        if argv.is_empty() { Ok(()) } else { self.command(argv) }
    }

    /// One thing before or behind the program. Before it, an assignment is no word of the command.
    fn item(&mut self, item: &ast::CommandPrefixOrSuffixItem, argv: Option<&mut Vec<Word>>) -> Walked {
        use ast::CommandPrefixOrSuffixItem as Item;
        let word = match item {
            Item::IoRedirect(redirect) => return self.redirect(redirect),
            Item::ProcessSubstitution(_, subshell) => {
                self.list(&subshell.list)?;
                Word::Dynamic
            }
            Item::AssignmentWord(assignment, word) => {
                self.assignment(assignment)?;
                // An array is no text that reads as a word.
                match &assignment.value {
                    ast::AssignmentValue::Scalar(_) => self.word(word)?,
                    ast::AssignmentValue::Array(_) => Word::Dynamic,
                }
            }
            Item::Word(word) => self.word(word)?,
        };
        if let Some(argv) = argv {
            argv.push(word);
        }
        Ok(())
    }

    fn assignment(&mut self, assignment: &ast::Assignment) -> Walked {
        if let ast::AssignmentName::ArrayElementName(_, index) = &assignment.name {
            self.tasks.push(Task::Expansions(index.clone()));
        }
        match &assignment.value {
            ast::AssignmentValue::Scalar(value) => self.expand(value),
            ast::AssignmentValue::Array(items) => items.iter().try_for_each(|(index, value)| {
                index.iter().try_for_each(|index| self.expand(index))?;
                self.expand(value)
            }),
        }
    }

    fn word(&mut self, word: &ast::Word) -> Result<Word, String> {
        words::read(&word.value, &self.options, &mut self.tasks)
    }

    /// A word of which only the substitutions matter.
    fn expand(&mut self, word: &ast::Word) -> Walked {
        self.word(word).map(|_| ())
    }

    fn redirects(&mut self, redirects: Option<&ast::RedirectList>) -> Walked {
        redirects.into_iter().flat_map(|list| &list.0).try_for_each(|redirect| self.redirect(redirect))
    }

    fn redirect(&mut self, redirect: &ast::IoRedirect) -> Walked {
        use ast::IoFileRedirectTarget as Target;
        match redirect {
            ast::IoRedirect::File(_, _, target) => match target {
                Target::Filename(word) | Target::Duplicate(word) => self.expand(word),
                Target::ProcessSubstitution(_, subshell) => self.list(&subshell.list),
                Target::Fd(_) => Ok(()),
            },
            ast::IoRedirect::HereDocument(_, document) => {
                if document.requires_expansion {
                    self.tasks.push(Task::HereText(document.doc.value.clone()));
                }
                Ok(())
            }
            ast::IoRedirect::HereString(_, word) | ast::IoRedirect::OutputAndError(word, _) => {
                self.expand(word)
            }
        }
    }

    fn compound(&mut self, compound: &ast::CompoundCommand) -> Walked {
        use ast::CompoundCommand as Compound;
        match compound {
            Compound::Arithmetic(arithmetic) => self.arithmetic(Some(&arithmetic.expr)),
            Compound::ArithmeticForClause(clause) => {
                for part in [&clause.initializer, &clause.condition, &clause.updater] {
                    self.arithmetic(part.as_ref())?;
                }
                self.list(&clause.body.list)
            }
            Compound::BraceGroup(group) => self.list(&group.list),
            Compound::Subshell(subshell) => self.list(&subshell.list),
            Compound::ForClause(clause) => {
                clause.values.iter().flatten().try_for_each(|word| self.expand(word))?;
                self.list(&clause.body.list)
            }
            Compound::CaseClause(clause) => {
                self.expand(&clause.value)?;
                for case in &clause.cases {
                    case.patterns.iter().try_for_each(|word| self.expand(word))?;
                    case.cmd.iter().try_for_each(|list| self.list(list))?;
                }
                Ok(())
            }
            Compound::IfClause(clause) => {
                self.list(&clause.condition)?;
                self.list(&clause.then)?;
                for other in clause.elses.iter().flatten() {
                    other.condition.iter().try_for_each(|list| self.list(list))?;
                    self.list(&other.body)?;
                }
                Ok(())
            }
            Compound::WhileClause(clause) | Compound::UntilClause(clause) => {
                self.list(&clause.0)?;
                self.list(&clause.1.list)
            }
            Compound::Coprocess(coprocess) => self.parsed(&coprocess.body),
        }
    }

    fn arithmetic(&mut self, expression: Option<&ast::UnexpandedArithmeticExpr>) -> Walked {
        if let Some(expression) = expression {
            words::arithmetic(&expression.value, &mut self.tasks);
        }
        Ok(())
    }

    fn test(&mut self, test: &ast::ExtendedTestExpr) -> Walked {
        use ast::ExtendedTestExpr as Test;
        match test {
            Test::And(one, other) | Test::Or(one, other) => {
                self.test(one)?;
                self.test(other)
            }
            Test::Not(inner) | Test::Parenthesized(inner) => self.test(inner),
            Test::UnaryTest(_, word) => self.expand(word),
            Test::BinaryTest(_, one, other) => {
                self.expand(one)?;
                self.expand(other)
            }
        }
    }
}

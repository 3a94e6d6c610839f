"""Lay out tables in Markdown, with headings in both languages."""

from __future__ import annotations

CHINESE = {
    "task": "任务",
    "glimpses": "瞥视次数",
    "retina": "视网膜",
    "one sampled path": "一条采样路径",
    "one path of the means": "一条均值路径",
    "ten sampled paths": "十条采样路径",
    "sampling error": "抽样误差",
    "paper": "论文",
    "ours, one path": "本项目，一条路径",
    "ours, ten paths": "本项目，十条路径",
    "best public claim, one path": "公开报告的最好结果，一条路径",
    "best public claim, ten paths": "公开报告的最好结果，十条路径",
    "preset": "预设",
    "command": "命令",
    "seed": "种子",
    "epochs": "epoch 数",
    "best epoch": "最佳 epoch",
    "minutes": "分钟",
    "augmented": "数据增强",
    "averaged weights": "权重平均",
    "weights": "权重",
    "what": "内容",
    "networks": "网络",
    "data set": "数据集",
    "system": "系统",
    "paths": "路径数",
    "error": "错误率",
    "what differs": "不同之处",
    "ours": "本项目",
    "lowest claim": "最低的公开结果",
    "difference": "差",
    "twice its standard error": "两倍标准误",
    "clear": "明显",
    "learned": "学习到的位置",
    "random": "随机位置",
    "random / learned": "随机 / 学习",
    "paper's": "论文的",
    "validation loss": "验证损失",
    "validation error": "验证错误率",
    "validation accuracy": "验证准确率",
    "test accuracy, M=10": "测试准确率，M=10",
    "guessing": "随机猜测",
    "parameters": "参数个数",
    "claim": "公开结果",
    "images": "图像",
    "right": "答对",
    "of": "总数",
    "case": "任务",
    "training images/s": "训练图像/秒",
    "step": "每步用时",
    "share of the arithmetic floor": "算术下限占比",
    "evaluation images/s": "评估图像/秒",
    "cost": "代价",
    "data": "数据",
    "forward": "前向",
    "backward": "反向",
    "optimizer": "优化器",
    "batch": "batch 大小",
    "1 process, images/s": "1 个进程，图像/秒",
    "2 processes, images/s": "2 个进程，图像/秒",
    "faster": "加速",
    "sum": "求和",
    "without": "去掉",
    "images/s": "图像/秒",
    "yes": "是",
    "no": "否",
    "not stated": "未说明",
    "None has been measured yet.": "尚未测量。",
}


def say(words: str, language: str) -> str:
    """Translate a heading or a word of a cell."""
    return CHINESE[words] if language == "zh" else words


def table(headings: list[str], rows: list[list], language: str) -> str:
    """Lay out a table in Markdown; None is an empty cell, "-"."""
    lines = [[say(words, language) for words in headings], *rows]
    texts = ["| " + " | ".join("-" if cell is None else str(cell) for cell in line) + " |" for line in lines]
    return "\n".join([texts[0], "|" + "---|" * len(headings), *texts[1:]])
